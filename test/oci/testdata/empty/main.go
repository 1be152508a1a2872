// Command empty is the least that can be in an image.
package main

func main() {}

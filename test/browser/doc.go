// Package browser has the tests that look at the running services through a
// browser.
package browser

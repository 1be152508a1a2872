module github.com/achilles-blog/achilles/scaffold

go 1.26.8

toolchain go1.27.4

require go.yaml.in/yaml/v3 v3.0.6

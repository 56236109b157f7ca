VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS := -s -w -X main.version=$(VERSION)
export CGO_ENABLED = 0

.PHONY: build demo test bench lab-up lab-down clean

build: bin/nova-evac bin/novasim

# Go knows what is out of date; make does not have to.
.PHONY: bin/nova-evac bin/novasim
bin/nova-evac bin/novasim:
	go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$(@F)

demo: build
	test/demo.sh

test: build
	test/run.sh

bench: build
	go run ./test/bench

lab-up: build
	test/lab/up.sh $(LAB_ARGS)

lab-down:
	test/lab/down.sh

clean:
	rm -rf bin

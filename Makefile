VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS := -s -w -X main.version=$(VERSION)
export CGO_ENABLED = 0

.PHONY: build demo test lanes chaos soak bench lab-up lab-down clean

build: bin/nova-evac bin/novasim

# Go knows what is out of date; make does not have to.
.PHONY: bin/nova-evac bin/novasim
bin/nova-evac bin/novasim:
	go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$(@F)

demo: build
	test/demo.sh

test: build
	test/run.sh

# make lanes LANE=sid RUN=TestStorm
lanes: build
	test/lanes/run.sh $(or $(LANE),trixie) $(if $(RUN),-test.run '$(RUN)')

# make chaos SEEDS=10000
chaos:
	go test ./test/chaos -count=1 -run TestChaos -seeds $(or $(SEEDS),2000) -timeout 1h -v | grep -v '^ *\(===\|---\)'

# make soak HOURS=2
soak: build
	go test ./test/e2e -count=1 -run TestSoak -soak $(or $(HOURS),2)h -timeout 99h -v

bench: build
	go run ./test/bench $(PARTS)

lab-up: build
	test/lab/up.sh $(LAB_ARGS)

lab-down:
	test/lab/down.sh

clean:
	rm -rf bin

package supervisor

import (
	"sync"
	"time"

	"github.com/nova-evac/nova-evac/pkg/evacuate"
)

// ledgers are the accounts of what this process has sent, by host. An evacuation that ends
// while an answer is out leaves its account to the next one of the same host.
type ledgers struct {
	mu     sync.Mutex
	byHost map[string]*evacuate.Ledger
}

// of is the ledger of a host.
func (l *ledgers) of(host string, p evacuate.Policy) *evacuate.Ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byHost[host] == nil {
		l.byHost[host] = evacuate.NewLedger(p)
	}
	return l.byHost[host]
}

// close drops the ledger of a host, unless a request may still be under way.
func (l *ledgers) close(host string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if of := l.byHost[host]; of != nil && !of.Open(now) {
		delete(l.byHost, host)
	}
}

package supervisor

import (
	"sync"
	"time"

	"github.com/nova-evac/nova-evac/pkg/evacuate"
)

// ledgers are the accounts of what this process has sent, by Nova's names of the hosts. An
// evacuation that ends while an answer is out leaves its account to the next one of the same
// host. One at a time has it: a host may be recorded under two names.
type ledgers struct {
	mu     sync.Mutex
	byHost map[string]*evacuate.Ledger
	taken  map[string]bool
}

// take takes the ledger of a host into use. It is nil where another evacuation has it.
func (l *ledgers) take(host string, p evacuate.Policy) *evacuate.Ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken[host] {
		return nil
	}
	if l.byHost[host] == nil {
		l.byHost[host] = evacuate.NewLedger(p)
	}
	l.taken[host] = true
	return l.byHost[host]
}

// giveBack ends the use of a ledger, and drops it, unless a request may still be under way.
func (l *ledgers) giveBack(host string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.taken, host)
	if !l.byHost[host].Open(now) {
		delete(l.byHost, host)
	}
}

package supervisor

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/nova-evac/nova-evac/pkg/cluster"
)

// Why a node must not act, besides that the cluster could not be asked.
var (
	errNotSeenYet  = errors.New("it has not seen the cluster yet")
	errNoQuorum    = errors.New("its partition has no quorum")
	errQuorumGoing = errors.New("quorum was lost while it claimed a host")
)

// permit is the cluster's leave for this node to act on the cloud.
type permit struct {
	now func() time.Time
	log *logrus.Entry

	mu      sync.Mutex
	granted time.Time    // when the cluster was last seen to let this node act
	refusal error        // why it does not; nil where it does
	view    cluster.View // as it was seen when it last did
}

// check answers whether this node may act now.
func (p *permit) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refusal != nil {
		return fmt.Errorf("this node must not act: %w", p.refusal)
	}
	if age := p.now().Sub(p.granted); age > permitLife {
		return fmt.Errorf("this node must not act: the cluster has not answered for %v", age.Round(time.Second))
	}
	return nil
}

// grant takes in a view in which this node has quorum.
func (p *permit) grant(view cluster.View) {
	p.mu.Lock()
	again := p.refusal != nil
	p.granted, p.refusal, p.view = p.now(), nil, view
	p.mu.Unlock()
	if again {
		p.log.Info("the cluster lets this node act")
	}
}

// refuse takes in why this node must not act, and says so where it is news.
func (p *permit) refuse(why error) {
	p.mu.Lock()
	news := p.refusal == nil || p.refusal.Error() != why.Error()
	p.refusal = why
	p.mu.Unlock()
	if news {
		p.log.Warnf("this node must not act: %v", why)
	}
}

// last is the cluster as it was seen when it last let this node act.
func (p *permit) last() cluster.View {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view
}

// node is what the cluster last said of one of its nodes.
func (p *permit) node(name string) (cluster.Node, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, known := p.view.Nodes[name]
	return n, known
}

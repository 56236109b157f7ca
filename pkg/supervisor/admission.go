package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nova-evac/nova-evac/pkg/nova"
	"github.com/nova-evac/nova-evac/pkg/ownership"
	"github.com/nova-evac/nova-evac/pkg/record"
)

// upWait is how long a host that was forced up is given to be up in Nova's eyes.
const upWait = 2 * time.Minute

// admission lets a claimed host in.
type admission struct{ *claim }

// run lets the host in, or says what became of that.
func (a admission) run() { a.conclude(a.letIn()) }

// conclude gives the claim back where the host was not let in, and says why.
func (a admission) conclude(err error) {
	if err == nil {
		return
	}
	if errors.Is(context.Cause(a.ctx), errLost) {
		a.log.Warn("stopped: the record has another owner now")
		return
	}
	a.log.Warnf("the host is not let in: %v", err)
	wait := err.Error()
	var refused *nova.Error
	if errors.As(err, &refused) {
		wait = refused.Message
	}
	if err := a.update(ownership.AnyGeneration, func(r record.Record) record.Record {
		if r.Owner, r.Updated = "", a.s.Now(); !r.Unfinished() {
			r.Wait = record.WaitFor(wait)
		}
		return r
	}); err != nil {
		a.log.Warnf("release the claim: %v", err)
	}
}

// letIn takes back what Nova was told of the host, and then its record. Each step is
// made on what Nova says at that moment, so that it can begin anywhere.
func (a admission) letIn() error {
	service, err := a.service()
	if err != nil {
		return err
	}
	if service.ForcedDown {
		if err := a.forceUp(service); err != nil {
			return err
		}
	}
	if service, err = a.awaitService(upWait, "is not up", func(s nova.Service) bool { return s.Up }); err != nil {
		return err
	}
	disabled := !service.Enabled
	if disabled && service.Ours() {
		if err := a.enable(service); err != nil {
			return err
		}
	}
	if err := a.deleteRecord(); err != nil {
		return err
	}
	if disabled && !service.Ours() {
		a.log.Infof("the host is back; it stays disabled, as an operator has it (%q)", service.DisabledReason)
	} else {
		a.log.Info("the host is back, and enabled")
	}
	return nil
}

func (a admission) enable(service nova.Service) error {
	if err := a.s.May(); err != nil {
		return err
	}
	if err := a.s.Nova.Enable(context.WithoutCancel(a.ctx), service); err != nil {
		return err
	}
	_, err := a.awaitService(upWait, "is not enabled", func(s nova.Service) bool { return s.Enabled })
	return err
}

// forceUp does not return while its request can be alive in the API: one that came late
// would undo what the host's next fencing tells Nova.
func (a admission) forceUp(service nova.Service) error {
	if err := a.s.May(); err != nil {
		return err
	}
	a.log.Info("the host is on again, its evacuation records are completed: telling Nova that it is up")
	err := a.s.Nova.ForceUp(context.WithoutCancel(a.ctx), service)
	if !errors.Is(err, nova.ErrUnknownOutcome) {
		return err
	}
	timer := time.NewTimer(a.s.Policy.APITime)
	defer timer.Stop()
	<-timer.C
	return err
}

func (a admission) service() (nova.Service, error) {
	services, err := a.s.Nova.Services(a.ctx)
	if err != nil {
		return nova.Service{}, err
	}
	m := a.s.cloud(services).Of(a.stored().Record)
	return m.Service, m.Err()
}

// awaitService waits for Nova to show the host's service as it should be.
func (a admission) awaitService(limit time.Duration, not string, is func(nova.Service) bool) (nova.Service, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := a.s.Now().Add(limit); ; {
		service, err := a.service()
		if err == nil && is(service) {
			return service, nil
		}
		if err != nil && !errors.Is(err, nova.ErrNotSent) && !errors.Is(err, nova.ErrAnswered) && !errors.Is(err, nova.ErrUnknownOutcome) {
			return service, err
		}
		if a.s.Now().After(end) {
			if err == nil {
				err = fmt.Errorf("its nova-compute %s %v after Nova was told so", not, limit)
			}
			return service, err
		}
		select {
		case <-a.ctx.Done():
			return service, context.Cause(a.ctx)
		case <-tick.C:
		}
	}
}

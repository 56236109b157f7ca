package supervisor

import "github.com/sirupsen/logrus"

// trouble is whether something that is tried again and again fails. It is logged when it
// begins, and not for each attempt: without quorum for a night, that would be tens of
// thousands of lines.
type trouble bool

// took notes how an attempt ended; err is nil where it went well.
func (t *trouble) took(err error, log *logrus.Entry, what string) {
	if err != nil && !bool(*t) {
		log.Warnf("%s: %v; trying again", what, err)
	}
	*t = err != nil
}

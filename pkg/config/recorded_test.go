package config

import (
	"testing"

	"github.com/nova-evac/nova-evac/pkg/pacemaker/recorded"
)

func TestEveryPacemakerGivesTheResourcesParameters(t *testing.T) {
	recorded.Each(t, func(t *testing.T, answer func(string) recorded.Answer) {
		got, err := FromResource(answer("resource").Out, t.TempDir())
		if err != nil || got["username"] != "admin" || got["auth_url"] != "http://10.77.0.250:5000/v3" {
			t.Errorf("%v, %v", got, err)
		}
	})
}

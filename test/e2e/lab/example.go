package lab

import (
	"fmt"
	"regexp"
	"strings"
)

// Example turns the crmsh example that we ship into what a lab of so many remote nodes can
// load: its power devices become the fake BMC's, its addresses the lab's, its credentials
// those of the lab's cloud, and what it has for compute-3 is there for each one after it.
// Everything else is loaded as it is. It panics where the example has changed so that it
// would no longer be the example.
func Example(text string, remotes int) string {
	for _, r := range [][2]string{
		{`stonith:fence_ipmilan`, `stonith:fence_lab`},
		{`ip=ipmi-\S+ username=fence password_script=\S+ lanplus=1 `, ``},
		{`192\.0\.2\.`, `@NET@.`},
		{`https://keystone\.example\.org:5000/v3`, `@AUTH_URL@`},
		{`username=nova-evac password_file=/etc/nova-evac/password tenant_name=service`, `username=admin password=secret tenant_name=admin api_timeout=10`},
		{`monitor interval=10s timeout=20s\nclone`, "monitor interval=5s timeout=20s\nclone"}, // a hung supervisor is noticed sooner
	} {
		pattern := regexp.MustCompile(r[0])
		if !pattern.MatchString(text) {
			panic("the example has no " + r[0] + " any more")
		}
		text = pattern.ReplaceAllString(text, r[1])
	}
	for _, of := range []string{
		`(?m)^primitive ipmi-compute-3 (.*\\\n)+.*\n`,
		`;compute-3:compute-3`,
		` \\\n    compute-3: ipmi-compute-3,fence-nova`,
		`(?m)^primitive compute-3 (.*\\\n)+.*\n`,
	} {
		pattern := regexp.MustCompile(of)
		if !pattern.MatchString(text) {
			panic("the example has no " + of + " any more")
		}
		text = pattern.ReplaceAllStringFunc(text, func(third string) string {
			all := third
			for n := 4; n <= remotes; n++ {
				all += strings.NewReplacer("compute-3", fmt.Sprintf("compute-%d", n), ".103", fmt.Sprintf(".%d", 100+n)).Replace(third)
			}
			return all
		})
	}
	return text
}

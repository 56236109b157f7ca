package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/nova-evac/nova-evac/test/e2e/lab"
)

// agents are the questions that Pacemaker's own tools put to our agents, on a
// cluster on which the example's configuration runs.
func agents(t *testing.T, c *cluster) {
	run := func(t *testing.T, line string) string {
		t.Helper()
		out, err := c.Exec(t.Context(), "ctl1", "bash", "-c", line+" 2>&1")
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return out
	}
	t.Run("the OCF agent's metadata is valid", func(t *testing.T) {
		run(t, "nova-evac ocf meta-data | xmllint --noout --relaxng /usr/share/resource-agents/metadata.rng -")
		run(t, "cd /usr/share/resource-agents && nova-evac ocf meta-data | xmllint --noout --dtdvalid ra-api-1.dtd -")
	})
	t.Run("the fence agent's metadata is valid", func(t *testing.T) {
		run(t, "fence_nova_evac -o metadata | xmllint --noout --relaxng /usr/share/cluster/relaxng/metadata.rng -")
	})
	for line, want := range map[string]string{
		"crm ra info ocf:openstack:nova-evacuate":           "password_file",
		"pcs resource describe ocf:openstack:nova-evacuate": "max_in_flight",
		"pcs stonith describe fence_nova_evac":              "on_wait",
	} {
		t.Run(line, func(t *testing.T) {
			if out := run(t, line); !strings.Contains(out, want) {
				t.Errorf("no %s in:\n%s", want, out)
			}
		})
	}
	// Beside the cluster's own instance, with records in a file and a socket of its own.
	const params = "auth_url=http://cloud:5000/v3 username=admin password=secret tenant_name=admin " +
		"records=/var/tmp/records state_dir=/run/nova-evac-tester log_file=/var/tmp/tester.log"
	t.Run("ocf-tester passes", func(t *testing.T) {
		line := "ocf-tester -n tester"
		for p := range strings.FieldsSeq(params) {
			line += " -o " + p
		}
		if out := run(t, line+" /usr/lib/ocf/resource.d/openstack/nova-evacuate"); !strings.Contains(out, "passed all tests") {
			t.Error(out)
		}
	})
	t.Run("bad parameters give OCF_ERR_CONFIGURED and one clear line", func(t *testing.T) {
		for bad, want := range map[string]string{
			"OCF_RESKEY_auth_url=":              "auth_url",
			"OCF_RESKEY_endpoint_type=sideways": "endpoint_type",
			"OCF_RESKEY_insecure=perhaps":       "insecure",
			"OCF_RESKEY_max_in_flight=many":     "max_in_flight",
			"OCF_RESKEY_password_file=/none":    "password_file",
			"OCF_RESKEY_state_dir=here":         "state_dir",
		} {
			line := "env"
			for p := range strings.FieldsSeq(params) {
				line += " OCF_RESKEY_" + p
			}
			if strings.HasPrefix(bad, "OCF_RESKEY_password_file") {
				line = strings.Replace(line, "OCF_RESKEY_password=secret", "", 1)
			}
			out, err := c.Exec(t.Context(), "ctl1", "bash", "-c", line+" "+bad+" nova-evac ocf start 2>&1")
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 6 {
				t.Errorf("%s: %v, expected exit code 6\n%s", bad, err, out)
			}
			reasons := 0
			for text := range strings.Lines(out) {
				if strings.HasPrefix(text, "ocf-exit-reason:") {
					reasons++
				}
			}
			if reasons != 1 || !strings.Contains(out, want) {
				t.Errorf("%s: no one clear line about %s:\n%s", bad, want, out)
			}
			if strings.Contains(out, "=secret") {
				t.Errorf("%s: the password is shown:\n%s", bad, out)
			}
		}
	})
	t.Run("the supervisor's password is in no argument and no environment", func(t *testing.T) {
		for _, node := range lab.Controllers {
			out, err := c.Exec(t.Context(), node, "bash", "-c",
				`pid=$(pgrep -f "^/usr/sbin/nova-evac supervise") && tr '\0' '\n' </proc/$pid/cmdline && tr '\0' '\n' </proc/$pid/environ`)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out, "secret") {
				t.Errorf("%s: %s", node, out)
			}
		}
	})
}

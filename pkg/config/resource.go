package config

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// SecretsDir is where Pacemaker keeps the values of parameters that are secrets
// (cibsecret), one file under the resource's id for each.
const SecretsDir = "/var/lib/pacemaker/lrm/secrets"

// secretValue stands in the CIB in place of a secret (Pacemaker, lib/pacemaker-internal's
// pcmk__substitute_secrets).
const secretValue = "lrm://"

// primitive is a resource in the CIB.
type primitive struct {
	ID   string `xml:"id,attr"`
	Type string `xml:"type,attr"`
	Sets []struct {
		Rules []struct{} `xml:"rule"`
		Pairs []struct {
			Name  string `xml:"name,attr"`
			Value string `xml:"value,attr"`
		} `xml:"nvpair"`
	} `xml:"instance_attributes"`
}

// FromResource takes the parameters of the cluster's own nova-evacuate resource
// out of the CIB, or out of as much of it as holds the resource: the output of
//
//	cibadmin --query --xpath "//primitive[@type='nova-evacuate' or @type='NovaEvacuate']"
//
// A parameter that is a CIB secret is read from secretsDir (SecretsDir, except in tests).
// Attributes under a rule are left out: only Pacemaker can say whether they apply. Without
// such a resource the map is nil. A nova-evacuate goes before the older NovaEvacuate. Two
// of the same type are an error: a choice between them would be a guess.
func FromResource(cibXML []byte, secretsDir string) (map[string]string, error) {
	found := map[string][]primitive{} // by type
	decoder := xml.NewDecoder(bytes.NewReader(cibXML))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the nova-evacuate resource: the cluster's answer is not XML: %w", err)
		}
		element, ok := token.(xml.StartElement)
		if !ok || element.Name.Local != "primitive" {
			continue
		}
		var p primitive
		if err := decoder.DecodeElement(&p, &element); err != nil {
			return nil, fmt.Errorf("read the nova-evacuate resource: %w", err)
		}
		found[p.Type] = append(found[p.Type], p)
	}
	for _, kind := range []string{"nova-evacuate", "NovaEvacuate"} {
		switch resources := found[kind]; len(resources) {
		case 0:
		case 1:
			return resources[0].parameters(secretsDir)
		default:
			ids := make([]string, len(resources))
			for i, r := range resources {
				ids[i] = r.ID
			}
			return nil, fmt.Errorf("the cluster has several %s resources (%s): name the cloud yourself, with auth_url or cloud", kind, strings.Join(ids, ", "))
		}
	}
	return nil, nil
}

func (p primitive) parameters(secretsDir string) (map[string]string, error) {
	parameters := map[string]string{}
	for _, set := range p.Sets {
		if len(set.Rules) > 0 {
			continue
		}
		for _, pair := range set.Pairs {
			if _, ok := parameters[pair.Name]; ok {
				continue
			}
			value := pair.Value
			if value == secretValue {
				secret, err := readSecret(secretsDir, p.ID, pair.Name)
				if err != nil {
					return nil, err
				}
				value = secret
			}
			parameters[pair.Name] = value
		}
	}
	return parameters, nil
}

func readSecret(dir, resource, parameter string) (string, error) {
	if !filepath.IsLocal(resource) || !filepath.IsLocal(parameter) {
		return "", fmt.Errorf("%s of the resource %s: no name for a CIB secret", parameter, resource)
	}
	text, err := os.ReadFile(filepath.Join(dir, resource, parameter))
	if err != nil {
		return "", fmt.Errorf("%s of the resource %s is a CIB secret that cannot be read here (as root, on a node of the cluster, it can): %w", parameter, resource, err)
	}
	// Pacemaker strips white space at the end too.
	return strings.TrimRight(string(text), " \t\r\n"), nil
}

#!/usr/bin/python3
"""settled.py <XML of crm_mon -1 -r: does everything run? Exit 1 and say what does not.

A clone may run on some nodes only; of it, one instance must run and none be failed.
"""
import sys
import xml.etree.ElementTree as ET

UP = ('Started', 'Promoted', 'Unpromoted', 'Master', 'Slave')
top = ET.parse(sys.stdin).getroot()
bad = []
for n in top.iterfind('nodes/node'):
    if n.get('online') != 'true' or n.get('unclean') == 'true' or n.get('pending') == 'true':
        bad.append('node %s is not online' % n.get('name'))
for r in top.iterfind('resources//resource'):
    if r.get('failed') == 'true' or r.get('pending'):
        bad.append('%s: failed or pending (%s)' % (r.get('id'), r.get('pending') or r.get('role')))
inside_clone = {id(r) for c in top.iterfind('resources//clone') for r in c.iter('resource')}
for r in top.iterfind('resources//resource'):
    if id(r) not in inside_clone and r.get('role') not in UP:
        bad.append('%s is %s' % (r.get('id'), r.get('role')))
for c in top.iterfind('resources//clone'):
    if not any(r.get('role') in UP for r in c.iter('resource')):
        bad.append('no instance of %s runs' % c.get('id'))
print('\n'.join(bad), file=sys.stderr)
sys.exit(1 if bad else 0)

package history

// StoppedLast answers whether an instance was shut down before it was evacuated: of its
// actions, newest first, the first that says whether its guest runs is a stop. Nova has
// forgotten it in every other place once a rebuild has failed: vm_state is error, power_state
// 0 (seen on Nova 26.2). That a guest shut itself down Nova records as a stop, too.
func StoppedLast(actions []string) bool {
	for _, name := range actions {
		switch name {
		case "stop":
			return true
		case "start", "reboot", "create", "rebuild", "unshelve", "resume", "restore":
			return false
		}
	}
	return false
}

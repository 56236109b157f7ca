package evacuate

// Mute has an evacuation make no sentence of its plans.
func (e *Evacuation) Mute() { e.words = func(Plan, Situation) string { return "" } }

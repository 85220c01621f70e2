// installrate.go: how many machines of a network may begin to install in an
// hour. A wrong template pushed to a rack then wipes a few machines and not all.

package boot

import (
	"time"
)

// installsHour is the window.
const installsHour = time.Hour

// queued says why an installation does not begin now; "" if it does. An installation
// that was cut short and begins again counts once.
func (t *turn) queued() (*Reason, error) {
	slot, _, err := t.nextInstall()
	if slot == (Counter{}) || err != nil {
		return nil, err
	}
	oldest, err := t.v.Counter(slot)
	if err != nil {
		return nil, err
	}
	began := time.Unix(int64(oldest), 0)
	if oldest == 0 || Age(t.in.At, began) >= installsHour {
		return nil, nil
	}
	most, free := t.net.InstallsPerHour, began.Add(installsHour).UTC()
	t.notice("installs "+t.net.Name, InstallLimit, "network %s has begun %d installations in an hour, its installs_per_hour: %s and others wait until %s", t.net.Name, most, t.host.Name, free.Format(time.DateTime))
	return because(WhyQueued, t.net.Name, most, free.Format(time.TimeOnly)), nil
}

// begins counts an installation.
func (t *turn) begins() error {
	slot, next, err := t.nextInstall()
	if slot == (Counter{}) || err != nil {
		return err
	}
	t.d.Writes.count(slot, uint64(t.in.At.Unix()))
	t.d.Writes.count(NextInstall(t.net.Name), next)
	return nil
}

// nextInstall is the slot that the installation would take, and the one after;
// the zero Counter where none is counted. Slots are a ring of the times at which
// the network's latest installations began: as many as may begin in an hour, so
// the oldest says whether one more may. Each is a counter of its own.
func (t *turn) nextInstall() (Counter, uint64, error) {
	most := uint64(t.net.InstallsPerHour)
	if most == 0 || t.host.Ticket.Boot != 0 {
		return Counter{}, 0, nil
	}
	i, err := t.v.Counter(NextInstall(t.net.Name))
	return InstallSlot(t.net.Name, i%most), (i%most + 1) % most, err
}

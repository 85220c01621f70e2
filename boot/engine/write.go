// write.go: writes what a decision or an order changes, in one transaction.

package engine

import "github.com/musterboot/muster/boot"

// apply writes the changes of a decision or of an order: both are written in the same
// way.
func apply(tx boot.Tx, c *boot.Changes) error {
	if c.Remove != nil {
		if err := tx.DeleteHost(c.Remove); err != nil {
			return err
		}
	}
	if c.Host != nil {
		if err := putHost(tx, c.Host); err != nil {
			return err
		}
	}
	for _, h := range c.Hosts {
		if err := putHost(tx, h); err != nil {
			return err
		}
	}
	if c.Inventory != nil {
		if err := tx.PutInventory(c.Host.ID, c.Inventory); err != nil {
			return err
		}
	}
	for name, sealed := range c.Secrets {
		if err := tx.SetSecret(name, sealed); err != nil {
			return err
		}
	}
	for k, n := range c.Counters {
		if err := tx.SetCounter(k, n); err != nil {
			return err
		}
	}
	for _, l := range c.Leases {
		if err := tx.PutLease(l); err != nil {
			return err
		}
	}
	if t := c.Template; t != nil {
		if err := tx.SetCounter(boot.LastTemplate, uint64(t.ID)); err != nil {
			return err
		}
		if err := tx.PutTemplate(t); err != nil {
			return err
		}
	}
	if c.Drop != "" {
		if err := tx.DropTemplate(c.Drop); err != nil {
			return err
		}
	}
	if c.Image != nil {
		if err := tx.PutImage(c.Image); err != nil {
			return err
		}
	}
	if c.NoImage != nil {
		if err := tx.DeleteImage(c.NoImage.Name); err != nil {
			return err
		}
	}
	if v := c.Values; v != nil {
		write := tx.PutValues
		if v.Empty() {
			write = tx.DeleteValues
		}
		if err := write(v); err != nil {
			return err
		}
	}
	if err := people(tx, c); err != nil {
		return err
	}
	for i := range c.Events {
		seq, err := tx.Append(c.Events[i])
		if err != nil {
			return err
		}
		c.Events[i].Seq = seq
	}
	return nil
}

// putHost writes a host and keeps count of the numbers that are used.
func putHost(tx boot.Tx, h *boot.Host) error {
	last, err := tx.Counter(boot.LastHost)
	if err != nil {
		return err
	}
	if uint64(h.ID) > last {
		if err := tx.SetCounter(boot.LastHost, uint64(h.ID)); err != nil {
			return err
		}
	}
	return tx.PutHost(h)
}

// people writes who may use the API.
func people(tx boot.Tx, c *boot.Changes) (err error) {
	if c.User != nil {
		err = tx.PutUser(c.User)
	}
	if c.NoUser != nil && err == nil {
		err = tx.DeleteUser(c.NoUser)
	}
	if c.Token != nil && err == nil {
		err = tx.PutToken(c.Token)
	}
	if c.NoToken != nil && err == nil {
		err = tx.DeleteToken(c.NoToken)
	}
	return err
}

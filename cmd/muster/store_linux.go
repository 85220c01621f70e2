// store_linux.go: the files of a store that no daemon has open.

package main

import "github.com/musterboot/muster/store/bolt"

func init() { checkStore, repairStore = bolt.Check, bolt.Repair }

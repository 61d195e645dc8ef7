package account

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ownerFile is the file of a spool's directory that names the account whose records it holds. Another account, which may
// have another Lago, must not send them.
const ownerFile = "account"

// SpoolOwner returns the account that a spool's directory belongs to; empty when it is not recorded.
func SpoolOwner(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, ownerFile)) //nolint:gosec // the operator names the directory
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// checkOwner refuses a spool that belongs to another account.
func checkOwner(dir, account string) error {
	owner, err := SpoolOwner(dir)
	if err != nil {
		return err
	}
	if owner != "" && owner != account {
		return ForeignSpool(dir, owner, account)
	}
	return nil
}

// ForeignSpool is the error of a spool that belongs to another account.
func ForeignSpool(dir, owner, account string) error {
	return fmt.Errorf("the spool %s holds the records of account %s, so account %s must not send them: give it a spool of its own", dir, owner, account)
}

// ownSpool makes an open spool the account's.
func ownSpool(dir, account string) error {
	owner, err := SpoolOwner(dir)
	if err != nil || owner == account {
		return err
	}
	name := filepath.Join(dir, ownerFile)
	if err := os.WriteFile(name+".new", []byte(account+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

package lagobilling

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tollgate-llm/tollgate/app"
)

// ownerFile is the file of a spool's directory that names the account whose records it holds. Another account, which may
// have another Lago, must not send them.
const ownerFile = "account"

// spoolOwner returns the account that a spool's directory belongs to; empty when it does not say.
func spoolOwner(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, ownerFile)) //nolint:gosec // the operator names the directory
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// checkOwner refuses a spool that belongs to another account.
func checkOwner(dir, account string) error {
	owner, err := spoolOwner(dir)
	if err != nil {
		return err
	}
	if owner != "" && owner != account {
		return foreignSpool(dir, owner, account)
	}
	return nil
}

func foreignSpool(dir, owner, account string) error {
	return fmt.Errorf("the spool %s holds the records of account %s, so account %s must not send them: give it a spool of its own", dir, owner, account)
}

// ownSpool makes an open spool the account's.
func ownSpool(dir, account string) error {
	owner, err := spoolOwner(dir)
	if err != nil || owner == account {
		return err
	}
	name := filepath.Join(dir, ownerFile)
	if err := os.WriteFile(name+".new", []byte(account+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// checkOpenAccounts refuses a configuration that gives a spool in use to another account.
func checkOpenAccounts(s settings) (err error) {
	app.Each(func(_ string, a *Account) {
		if a.dir == s.dir && a.name != s.name {
			err = foreignSpool(s.dir, a.name, s.name)
		}
	})
	return err
}

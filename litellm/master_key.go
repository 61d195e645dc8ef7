package litellm

import "strings"

// Without a master key the gateway is open to anyone who reaches it. So a missing key counts as intended only if
// the file does not mention one at all. A key that is empty, misspelled or in the wrong section is an error.

const masterKeyPath = "general_settings.master_key"

// masterKeyName reports whether a member's name is a spelling of the master key's.
func masterKeyName(key string) bool {
	folded := strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(key))
	return folded == "masterkey" || folded == "litellmmasterkey"
}

// findMasterKeys searches all members of a section for one meant to be the master key. It is called for the
// sections of every file, including those that a later file replaces.
func (c *converter) findMasterKeys(f field) { c.findMasterKey(f, 0) }

func (c *converter) findMasterKey(f field, depth int) {
	if depth > maxNesting || f.key == "environment_variables" && depth == 0 {
		return
	}
	if masterKeyName(f.key) {
		if f.path != masterKeyPath {
			c.fail(f, "a master key is not read from here, and without one whoever reaches the gateway may call it: write general_settings.master_key")
		}
		c.masterKeys = append(c.masterKeys, f)
		return
	}
	if f.isList() {
		for _, item := range f.items() {
			item.key = ""
			c.findMasterKey(item, depth+1)
		}
		return
	}
	for _, m := range f.members() {
		c.findMasterKey(m, depth+1)
	}
}

// setMasterKey reads general_settings.master_key.
func (c *converter) setMasterKey(f field) {
	if f.isScalar() && (f.off() || f.raw() == "0") {
		c.fail(f, "the master key is empty or switched off, so that whoever reaches the gateway may call it: "+
			"write a key, or take the member out everywhere for a gateway without keys")
		return
	}
	c.masterKey = c.value(f)
}

// checkMasterKey decides, at the end, whether the gateway may be open.
func (c *converter) checkMasterKey() {
	const name = "LITELLM_MASTER_KEY"
	if c.masterKey.set() {
		return
	}
	if c.env(name) != "" {
		c.masterKey = c.envWord(name)
		return
	}
	d, declared := c.declared[name]
	if _, set := c.lookupEnv(name); set || declared {
		if !declared {
			d = field{path: name}
		}
		c.fail(d, "the variable "+name+" is empty, so that whoever reaches the gateway may call it: give it a value, or unset it for a gateway without keys")
		return
	}
	for variable := range c.declared {
		if variable != name && strings.EqualFold(variable, name) {
			c.fail(c.declared[variable], "the variable is read as "+name+": write it so")
			return
		}
	}
	if len(c.masterKeys) > 0 {
		if len(c.errs) == 0 {
			c.fail(c.masterKeys[0], "the section with the master key is replaced by that of another file, which has none: write it into the last one")
		}
		return
	}
	where := c.host()
	if where == "" {
		where = "every address"
	}
	c.warn(field{path: masterKeyPath},
		"THERE IS NO MASTER KEY: whoever reaches "+where+" may call every model, without a key. There are no keys and no teams")
	if c.keyHeader.set() {
		c.warn(c.keyHeader.at, "is left out: without a master key no key is looked at")
	}
}

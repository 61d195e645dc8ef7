package console

import (
	"net/http"
	"net/url"

	"go.uber.org/zap"

	"github.com/tollgate-llm/tollgate/console/session"
)

// changeDef is a change that a form can request. The user confirms it once. It is then logged together with the
// user.
type changeDef struct {
	title  string   // the question to confirm
	fields []string // the form's fields, in the order in which they are shown
	back   string   // path of the page to return to, below the console
	danger bool
	run    func(v *visit, f url.Values) (*done, error)
}

// done is the result of a change. If it has a page, that page is shown instead of the notice.
type done struct {
	notice string
	page   *content
}

// changes are all changes by their name in forms.
var changes = map[string]changeDef{}

// change makes the requested change.
func (v *visit) change() error {
	f := v.r.PostForm
	name := f.Get("do")
	if name == "sign-out" {
		return v.signOut()
	}
	c, ok := changes[name]
	switch {
	case v.role < manages:
		return refuse(http.StatusForbidden, "This key may not change anything.")
	case !ok:
		return refuse(http.StatusBadRequest, "There is no such change.")
	case f.Get("sure") != "yes":
		return v.ask(name, &c)
	}
	v.name = c.back
	d, err := c.run(v, f)
	if err != nil {
		return err
	}
	v.note(name, &c)
	if d.page != nil {
		return v.write(http.StatusOK, d.page)
	}
	session.Notify(v.r, d.notice)
	http.Redirect(v.w, v.r, root+c.back, http.StatusSeeOther)
	return nil
}

// ask asks the user to confirm a change.
func (v *visit) ask(name string, c *changeDef) error {
	sure := form{
		Action: root + c.back, Do: name, Button: "Yes", Danger: c.danger, Hidden: []field{{Name: "sure", Value: "yes"}},
	}
	var list []fact
	for _, n := range c.fields {
		value := v.r.PostForm.Get(n)
		sure.Hidden = append(sure.Hidden, field{Name: n, Value: value})
		list = facts(list, n, value)
	}
	v.name = c.back
	return v.write(http.StatusOK, &content{Title: c.title, Sections: []section{
		{Facts: list, Forms: []form{sure}, Text: "Nothing is changed yet."},
		{Facts: []fact{{"Or", link("go back", root+c.back)}}},
	}})
}

// note writes a change to the log.
func (v *visit) note(name string, c *changeDef) {
	fields := []zap.Field{zap.String("change", name), zap.String("by", v.who.KeyName), zap.String("by_alias", v.who.KeyAlias)}
	for _, n := range c.fields {
		if value := v.r.PostForm.Get(n); value != "" {
			fields = append(fields, zap.String(n, value))
		}
	}
	v.h.logger.Info("console: a change was made", fields...)
}

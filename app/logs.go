package app

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/logging"
)

// secretHeaders are the canonical names of headers that may contain a key.
var secretHeaders []string

// RegisterSecretHeaders adds headers whose values must not appear in access logs. Names are in canonical
// form. Only init may call it.
func RegisterSecretHeaders(names ...string) { secretHeaders = append(secretHeaders, names...) }

// secretParameter is the URL parameter in which Google's clients send their key.
const secretParameter = "key"

// accessLogger is the prefix of the names of access loggers.
const accessLogger = "http.log.access"

// keyedSite is a route that requires keys, with the hosts it matches. No hosts means all.
type keyedSite struct{ hosts []string }

// warnOfLogs warns of access logs that would show the keys of a site that requires them. Caddy logs a
// request as it arrived, before any handler can remove the key, and redacts only the headers that it
// knows.
func warnOfLogs(ctx caddy.Context, log *zap.Logger, server string, config *caddyhttp.ServerLogConfig, sites []keyedSite) {
	if config == nil || len(sites) == 0 {
		return
	}
	shown := make(map[string][]string) // by log name
	for _, site := range sites {
		for _, logger := range loggersOf(config, site.hosts) {
			for name, l := range logsOf(ctx) {
				if l.allows(logger) {
					shown[name] = l.shows(config.ShouldLogCredentials)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		if keys := shown[name]; len(keys) > 0 {
			log.Warn("the access log of a site shows clients' keys: give it the filter of Caddyfile.example (`format filter`), or take `log` away",
				zap.String("server", server), zap.String("log", name), zap.Strings("shows", keys))
		}
	}
}

// loggersOf returns the names of the loggers that log requests to the hosts.
func loggersOf(config *caddyhttp.ServerLogConfig, hosts []string) []string {
	names := make(map[string]bool)
	add := func(list ...string) {
		for _, n := range list {
			names[strings.TrimSuffix(accessLogger+"."+n, ".")] = true
		}
	}
	if len(hosts) == 0 {
		if !config.SkipUnmappedHosts {
			add(config.DefaultLoggerName)
		}
		for host, list := range config.LoggerNames {
			if !slices.Contains(config.SkipHosts, host) {
				add(list...)
			}
		}
	}
	for _, host := range hosts {
		list, mapped := config.LoggerNames[strings.ToLower(host)]
		switch {
		case slices.Contains(config.SkipHosts, host):
		case mapped:
			add(list...)
		case !config.SkipUnmappedHosts:
			add(config.DefaultLoggerName)
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// logSink is a log of the running configuration.
type logSink struct {
	include, exclude []string
	encoder          reflect.Value // usually of a pointer to a struct
}

// logsOf returns the logs by name. Caddy does not expose them to modules, so they are read by reflection
// from unexported fields of its context. If these fields do not exist, the result is empty.
func logsOf(ctx caddy.Context) map[string]logSink {
	logs := inside(reflect.ValueOf(ctx), "cfg", "Logging", "Logs")
	if logs.Kind() != reflect.Map {
		return nil
	}
	sinks := make(map[string]logSink)
	for each := logs.MapRange(); each.Next(); {
		l := each.Value()
		if writer := inside(l, "writerOpener"); writer.IsValid() && writer.Type() == reflect.TypeFor[caddy.DiscardWriter]() {
			continue
		}
		sinks[each.Key().String()] = logSink{texts(inside(l, "Include")), texts(inside(l, "Exclude")), inside(l, "encoder")}
	}
	return sinks
}

// inside returns a nested field, following pointers and interfaces, or the zero Value if it does not
// exist.
func inside(v reflect.Value, names ...string) reflect.Value {
	v = plain(v)
	for _, name := range names {
		if v.Kind() != reflect.Struct {
			return reflect.Value{}
		}
		v = plain(v.FieldByName(name))
	}
	return v
}

func plain(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	return v
}

func texts(v reflect.Value) (list []string) {
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			list = append(list, v.Index(i).String())
		}
	}
	return list
}

// allows reports whether the log accepts entries of a logger. The longest included or excluded prefix
// decides.
func (l logSink) allows(logger string) bool {
	longest := func(names []string) (n int) {
		for _, name := range names {
			if strings.HasPrefix(logger+".", name+".") {
				n = max(n, len(name))
			}
		}
		return n
	}
	in, out := longest(l.include), longest(l.exclude)
	return (len(l.include) == 0 || in > 0) && (out == 0 || in > out)
}

// shows returns the headers with keys, and the URL parameter, that the log would show. The result is
// empty for formats that are not Caddy's own.
func (l logSink) shows(credentials bool) (list []string) {
	filtered := make(map[string]reflect.Value) // filters by field
	for e := l.encoder; ; e = inside(e, "wrapped") {
		if !e.IsValid() {
			return nil
		}
		switch e.Type() {
		case reflect.TypeFor[logging.FilterEncoder]():
			if fields := inside(e, "Fields"); fields.Kind() == reflect.Map {
				for each := fields.MapRange(); each.Next(); {
					filtered[each.Key().String()] = plain(each.Value())
				}
			}
			continue
		case reflect.TypeFor[logging.AppendEncoder]():
			continue
		case reflect.TypeFor[logging.JSONEncoder](), reflect.TypeFor[logging.ConsoleEncoder](), jsonEncoder, consoleEncoder:
		default:
			return nil
		}
		break
	}
	hidden := func(fields ...string) bool {
		return slices.ContainsFunc(fields, func(f string) bool {
			filter, ok := filtered[f]
			return ok && filter.Type() != reflect.TypeFor[logging.RenameFilter]() && filter.Type() != reflect.TypeFor[logging.QueryFilter]()
		})
	}
	const request, headers, uri = "request", "request>headers", "request>uri"
	for _, name := range secretHeaders {
		blanked := !credentials && slices.Contains([]string{"Authorization", "Cookie", "Proxy-Authorization"}, name)
		if !blanked && !hidden(request, headers, headers+">"+http.CanonicalHeaderKey(name)) {
			list = append(list, name)
		}
	}
	if !hidden(request, uri) && !hidesParameter(filtered[uri]) {
		list = append(list, "?"+secretParameter+"=")
	}
	return list
}

// The default log formats.
var (
	jsonEncoder    = reflect.TypeOf(zapcore.NewJSONEncoder(zapcore.EncoderConfig{})).Elem()
	consoleEncoder = reflect.TypeOf(zapcore.NewConsoleEncoder(zapcore.EncoderConfig{}))
)

// hidesParameter reports whether a filter of the URL removes the key.
func hidesParameter(filter reflect.Value) bool {
	actions := inside(filter, "Actions")
	if actions.Kind() != reflect.Slice {
		return false
	}
	for i := range actions.Len() {
		if p := inside(actions.Index(i), "Parameter"); p.Kind() == reflect.String && p.String() == secretParameter {
			return true
		}
	}
	return false
}

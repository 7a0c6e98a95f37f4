// Package airssys is what components for airssys-wasm are written with in Go.
//
// A component is a type with a method Handle; Export makes of it what the contract asks for:
//
//	func init() { airssys.Export(airssys.About{Name: "greeter"}, newGreeter) }
//
// What a component returns as an error is told to whoever sent the message, and the component
// goes on. The functions of this package are called within a call of the component only.
package airssys

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Component handles messages.
type Component interface {
	// Handle returns the reply; nil is none.
	Handle(message Message) ([]byte, error)
}

// Healthy may be a component's, too: how it does.
type Healthy interface{ Health() Health }

// Stopping may be a component's, too: the last call of an instance.
type Stopping interface{ Shutdown() error }

// About is what others see of a component.
type About struct {
	Name, Version, Description, Author, License string
	Operations                                  []string
}

// Health is how a component does.
type Health uint32

// The values of Health.
const (
	HealthHealthy Health = iota
	HealthDegraded
	HealthUnhealthy
	HealthUnknown
)

// Message is something that arrived.
type Message struct {
	// From is who sent it, which the host vouches for: namespace/name/instance.
	From        string
	Payload     []byte
	ContentType string
}

// Text is the payload as a string.
func (message Message) Text() string { return string(message.Payload) }

// Answer is the answer to a request: a message, or why there is none.
type Answer struct {
	Message
	// Err is why there is no answer.
	Err error
}

// Config is what the manifest has for the component: [config] and [env].
type Config struct {
	// Data is nil where the manifest has none.
	Data      []byte
	Variables map[string]string
}

// Text is the configuration as a string.
func (config Config) Text() string { return string(config.Data) }

// Export makes a component of the module. It is called once, in an init function.
func Export(about About, start func(Config) (Component, error)) {
	exported.about, exported.start = about, start
}

var exported struct {
	about   About
	start   func(Config) (Component, error)
	running Component
}

// HostError is what the host refused.
type HostError struct {
	// Code is the case of the contract.
	Code string
	// Reason may be empty.
	Reason string
}

// What the cases of the contract mean.
var refusals = map[string]string{
	"delivery-failed":     "delivery failed: %s",
	"correlation-timeout": "request %s was not answered in time",
	"invalid-message":     "invalid message: %s",
	"target-not-found":    "no component %s",
	"not-found":           "%s is not in the store",
	"already-exists":      "%s is already in the store",
	"invalid-key":         "invalid key: %s",
	"io-error":            "storage failed: %s",
}

func (refused *HostError) Error() string {
	if told, ok := refusals[refused.Code]; ok {
		return fmt.Sprintf(told, refused.Reason)
	}
	// "quota-exceeded" and "queue-full" say all there is to say.
	return strings.ReplaceAll(refused.Code, "-", " ")
}

// An id as the contract has it.
type id [3]string

func (id id) String() string { return strings.Join(id[:], "/") }

func parseID(text string) (id, error) {
	if err := checkText("id", text); err != nil {
		return id{}, err
	}
	segments := strings.Split(text, "/")
	if len(segments) != 3 {
		return id{}, fmt.Errorf("%s is no id: it is namespace/name/instance", text)
	}
	return id(segments), nil
}

// The host ends a component that passes it a text that is not UTF-8. What is logged or said in
// an error has U+FFFD in the place of other bytes; a key or an id is refused.
func checkText(what, text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("the %s is not UTF-8", what)
	}
	return nil
}

// The next whole number of milliseconds: what is shorter than one is not nothing.
func milliseconds(duration time.Duration) uint64 {
	whole := max(duration, 0).Milliseconds()
	if time.Duration(whole)*time.Millisecond < duration {
		whole++
	}
	return uint64(whole)
}

// Send sends a message that is not answered.
func Send(to string, payload []byte) error {
	target, err := parseID(to)
	if err != nil {
		return err
	}
	return hostSend(target, payload)
}

// Broadcast sends the same message to several components.
func Broadcast(to []string, payload []byte) error {
	targets := make([]id, len(to))
	for i, text := range to {
		target, err := parseID(text)
		if err != nil {
			return err
		}
		targets[i] = target
	}
	return hostBroadcast(targets, payload)
}

var open = map[string]func(Answer) error{}

// Request sends a message that is answered: answered is called once, in a later call, with the
// answer or with why there is none. It returns the request's id.
func Request(to string, payload []byte, timeout time.Duration, answered func(Answer) error) (string, error) {
	target, err := parseID(to)
	if err != nil {
		return "", err
	}
	request, err := hostRequest(target, payload, milliseconds(timeout))
	if err != nil {
		return "", err
	}
	open[request] = answered
	return request, nil
}

// Cancel has a request not answered any more.
func Cancel(request string) error {
	if err := checkText("request", request); err != nil {
		return err
	}
	if err := hostCancel(request); err != nil {
		return err
	}
	delete(open, request)
	return nil
}

const messagingError = "application/vnd.airssys.messaging-error"

func answered(request string, message Message) error {
	then, ok := open[request]
	if !ok {
		return nil
	}
	delete(open, request)
	answer := Answer{Message: message}
	if message.ContentType == messagingError {
		answer.Err = failure(message.Text())
	}
	return then(answer)
}

// Why a request has no answer, of the case and its text.
func failure(told string) error {
	if strings.HasPrefix(told, "correlation-timeout") {
		return errors.New("the request was not answered in time")
	}
	return fmt.Errorf("the request failed: %s", strings.TrimPrefix(told, "delivery-failed: "))
}

// Get is what is stored under a key; nil is nothing.
func Get(key string) ([]byte, error) {
	if err := checkText("key", key); err != nil {
		return nil, err
	}
	return hostGet(key)
}

// Set stores a value.
func Set(key string, value []byte) error {
	if err := checkText("key", key); err != nil {
		return err
	}
	return hostSet(key, value)
}

// Delete removes a key.
func Delete(key string) error {
	if err := checkText("key", key); err != nil {
		return err
	}
	return hostDelete(key)
}

// Exists tells whether something is stored under a key.
func Exists(key string) (bool, error) {
	if err := checkText("key", key); err != nil {
		return false, err
	}
	return hostExists(key)
}

// Usage is how much the storage holds.
type Usage struct{ UsedBytes, QuotaBytes, KeyCount uint64 }

// StorageUsage tells how much the storage holds.
func StorageUsage() (Usage, error) { return hostUsage() }

// Keys are those that begin with a prefix, which may be "".
func Keys(prefix string) ([]string, error) {
	if err := checkText("prefix", prefix); err != nil {
		return nil, err
	}
	return hostKeys(prefix)
}

// Level is how much a log line matters.
type Level uint32

// The levels of log lines.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

// Log writes a line in the way of fmt.Sprintf.
func Log(level Level, format string, arguments ...any) {
	hostLog(level, fmt.Sprintf(format, arguments...))
}

// Now is the host's clock.
func Now() time.Time { return time.UnixMilli(int64(hostNow())) }

// Sleep waits.
func Sleep(duration time.Duration) { hostSleep(milliseconds(duration)) }

// OwnID is who this component is: namespace/name/instance.
func OwnID() string { return hostSelfID().String() }

// Components are the ids of those that this one knows of.
func Components() []string {
	found := hostComponents()
	ids := make([]string, len(found))
	for i, id := range found {
		ids[i] = id.String()
	}
	return ids
}

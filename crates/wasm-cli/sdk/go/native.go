//go:build !wasip1

package airssys

import "errors"

// Outside of a component there is no host. This is here so that editors and `go vet` read a
// component as any other package.
var errNoHost = errors.New("there is no host: this is no component")

func hostSend(id, []byte) error                      { return errNoHost }
func hostRequest(id, []byte, uint64) (string, error) { return "", errNoHost }
func hostCancel(string) error                        { return errNoHost }
func hostBroadcast([]id, []byte) error               { return errNoHost }
func hostSelfID() id                                 { return id{} }
func hostLog(Level, string)                          {}
func hostNow() uint64                                { return 0 }
func hostSleep(uint64)                               {}
func hostGet(string) ([]byte, error)                 { return nil, errNoHost }
func hostSet(string, []byte) error                   { return errNoHost }
func hostDelete(string) error                        { return errNoHost }
func hostExists(string) (bool, error)                { return false, errNoHost }
func hostUsage() (Usage, error)                      { return Usage{}, errNoHost }
func hostComponents() []id                           { return nil }
func hostKeys(string) ([]string, error)              { return nil, errNoHost }

// Greets, and counts whom it greeted.
package main

import (
	"cmp"
	"strconv"

	"local/@NAME@/airssys"
)

type greeter struct{ greeting string }

func newGreeter(config airssys.Config) (airssys.Component, error) {
	return greeter{cmp.Or(config.Text(), "hello")}, nil
}

func (g greeter) Handle(message airssys.Message) ([]byte, error) {
	name := message.Text()
	stored, err := airssys.Get(name)
	if err != nil {
		return nil, err
	}
	count, _ := strconv.Atoi(string(stored))
	count++
	airssys.Log(airssys.Info, "%s was greeted %d times", name, count)
	return []byte(g.greeting + " " + name), airssys.Set(name, []byte(strconv.Itoa(count)))
}

func init() {
	airssys.Export(airssys.About{Name: "@NAME@", Version: "0.1.0"}, newGreeter)
}

func main() {}

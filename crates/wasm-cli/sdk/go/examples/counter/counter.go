// Counts how often it was sent each word, in storage.
package main

import (
	"cmp"
	"strconv"

	"airssys"
)

type counter struct{}

func (counter) Handle(message airssys.Message) ([]byte, error) {
	stored, err := airssys.Get(message.Text())
	if err != nil {
		return nil, err
	}
	count, err := strconv.Atoi(cmp.Or(string(stored), "0"))
	if err != nil {
		return nil, err
	}
	counted := []byte(strconv.Itoa(count + 1))
	return counted, airssys.Set(message.Text(), counted)
}

func init() {
	airssys.Export(airssys.About{Name: "counter", Version: "0.1.0"},
		func(airssys.Config) (airssys.Component, error) { return counter{}, nil })
}

func main() {}

// Answers with what it was sent.
package main

import "airssys"

type echo struct{}

func (echo) Handle(message airssys.Message) ([]byte, error) { return message.Payload, nil }

func init() {
	airssys.Export(airssys.About{Name: "echo", Version: "0.1.0"},
		func(airssys.Config) (airssys.Component, error) { return echo{}, nil })
}

func main() {}

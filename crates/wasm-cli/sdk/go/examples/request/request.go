// Asks the echo, and knows its last answer.
//
//	last   the answer
//	TEXT   is what it asks
package main

import (
	"time"

	"airssys"
)

type asker struct{ last string }

func (asker *asker) Handle(message airssys.Message) ([]byte, error) {
	if message.Text() == "last" {
		return []byte(asker.last), nil
	}
	_, err := airssys.Request("sdk/echo/main", message.Payload, time.Second, asker.answered)
	return []byte("asked"), err
}

func (asker *asker) answered(answer airssys.Answer) error {
	asker.last = answer.Text()
	if answer.Err != nil {
		asker.last = "no answer: " + answer.Err.Error()
	}
	return nil
}

func init() {
	airssys.Export(airssys.About{Name: "request", Version: "0.1.0"},
		func(airssys.Config) (airssys.Component, error) { return &asker{"nothing yet"}, nil })
}

func main() {}

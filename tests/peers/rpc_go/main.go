package main

import (
	"fmt"
	"log"
	"net"
	"os"

	"github.com/vmihailenco/msgpack/v5"
)

func main() {
	socket, err := net.Dial("unix", os.Getenv("VCD_SOCKET"))
	if err != nil {
		log.Fatal(err)
	}
	out, in := msgpack.NewEncoder(socket), msgpack.NewDecoder(socket)
	call := func(id int, method string, params map[string]any) {
		if err := out.Encode([]any{0, id, method, []any{params}}); err != nil {
			log.Fatal(err)
		}
	}
	call(1, "rpc.hello", map[string]any{"client": map[string]any{"name": "example-go"}})
	call(2, "device.list", map[string]any{})
	call(3, "events.subscribe", map[string]any{"from": 0})
	for {
		var message []any // [1, id, error, result] or [2, name, [data]]
		if err := in.Decode(&message); err != nil {
			log.Fatal(err)
		}
		if len(message) == 4 && message[2] != nil {
			log.Fatal(message[2])
		} else if len(message) == 4 && fmt.Sprint(message[1]) == "2" {
			device := message[3].(map[string]any)["devices"].([]any)[0].(map[string]any)
			fmt.Println("devices:", device["name"])
		} else if message[1] == "event" {
			event := message[2].([]any)[0].(map[string]any)
			fmt.Println("event:", event["seq"], event["type"])
		}
	}
}

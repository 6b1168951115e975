package main

// Messages of four bytes of length and that many bytes on a stream, and the question protocol on top of them
// (transport/streams.py, transport/live/ask.py).

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

const (
	askProtocol    = "/vcd/ask/1"
	echoProtocol   = "/vcd/echo/1"
	answered       = 0
	unknown        = 2
	largestMessage = 1<<20 + 128
)

func sendMessage(stream io.Writer, message []byte) error {
	_, err := stream.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...))
	return err
}

func receiveMessage(stream io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(stream, length[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > largestMessage {
		return nil, fmt.Errorf("a message of %d bytes", size)
	}
	message := make([]byte, size)
	_, err := io.ReadFull(stream, message)
	return message, err
}

func encodeQuestion(name string, question []byte) []byte {
	return append(append([]byte{1, byte(len(name))}, name...), question...)
}

func decodeQuestion(message []byte) (name string, question []byte, err error) {
	if len(message) < 2 || message[0] != 1 || len(message) < 2+int(message[1]) {
		return "", nil, errors.New("not a question")
	}
	end := 2 + int(message[1])
	return string(message[2:end]), message[end:], nil
}

// answer serves one question: an echo, or word that nobody answers it here.
func answer(stream network.Stream) {
	_ = stream.SetDeadline(time.Now().Add(30 * time.Second))
	message, err := receiveMessage(stream)
	if err == nil {
		var name string
		var question []byte
		if name, question, err = decodeQuestion(message); err == nil {
			reply := []byte{unknown}
			if name == echoProtocol {
				reply = append([]byte{answered}, question...)
			}
			err = sendMessage(stream, reply)
		}
	}
	if err != nil {
		_ = stream.Reset()
		return
	}
	_ = stream.Close()
}

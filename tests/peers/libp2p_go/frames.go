package main

// Frames and batches of them, as transport/frames.py and transport/gossip/batch.py describe them; written from
// those descriptions alone, so that what they say and what the program does are held against each other.

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

const (
	signedSize = 77
	headSize   = signedSize + ed25519.SignatureSize
	maxPayload = 4 << 20
	wholeFrame = 1
	headOnly   = 2
)

var frameContext = []byte("vcd frame 1")

func sealFrame(key ed25519.PrivateKey, payload []byte, expires uint64) []byte {
	digest := sha256.Sum256(payload)
	frame := make([]byte, 0, headSize+len(payload))
	frame = append(frame, 1)
	frame = append(frame, key.Public().(ed25519.PublicKey)...)
	frame = binary.BigEndian.AppendUint64(frame, expires)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	frame = append(frame, digest[:]...)
	frame = append(frame, ed25519.Sign(key, append(bytes.Clone(frameContext), frame...))...)
	return append(frame, payload...)
}

// openFrame gives the payload, or says in a word why this is not a frame of the topic.
func openFrame(frame []byte, writer ed25519.PublicKey, now uint64) ([]byte, string) {
	switch {
	case len(frame) < headSize:
		return nil, "short"
	case frame[0] != 1:
		return nil, "version"
	case !bytes.Equal(frame[1:33], writer):
		return nil, "stranger"
	case binary.BigEndian.Uint64(frame[33:41]) <= now:
		return nil, "expired"
	}
	payload := frame[headSize:]
	if size := binary.BigEndian.Uint32(frame[41:45]); size > maxPayload || int(size) != len(payload) {
		return nil, "size"
	}
	if digest := sha256.Sum256(payload); !bytes.Equal(digest[:], frame[45:77]) {
		return nil, "digest"
	}
	if !ed25519.Verify(writer, append(bytes.Clone(frameContext), frame[:signedSize]...), frame[signedSize:headSize]) {
		return nil, "forged"
	}
	return payload, ""
}

func encodeBatch(frames [][]byte) []byte {
	batch := []byte{1}
	for _, frame := range frames {
		batch = append(batch, wholeFrame)
		batch = binary.BigEndian.AppendUint32(batch, uint32(len(frame)))
		batch = append(batch, frame...)
	}
	return batch
}

var errNotABatch = errors.New("not a batch")

// decodeBatch gives the whole frames, and how many were announced by their head alone.
func decodeBatch(data []byte) (frames [][]byte, heads int, err error) {
	if len(data) == 0 || data[0] != 1 {
		return nil, 0, errNotABatch
	}
	for data = data[1:]; len(data) > 0; {
		if len(data) < 5 {
			return nil, 0, errNotABatch
		}
		tag, size := data[0], int64(binary.BigEndian.Uint32(data[1:5]))
		if size > int64(len(data)-5) {
			return nil, 0, errNotABatch
		}
		switch item := data[5 : 5+size]; tag {
		case wholeFrame:
			frames = append(frames, item)
		case headOnly:
			heads++
		default:
			return nil, 0, errNotABatch
		}
		data = data[5+size:]
	}
	return frames, heads, nil
}

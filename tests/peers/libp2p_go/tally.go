package main

// What came, as tests/mesh/load.py counts it.

import (
	"encoding/binary"
	"math"
	"sort"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

const loadHeader = 20

// clock is the monotonic clock that all processes of this machine share.
func clock() float64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return float64(now.Sec) + float64(now.Nsec)/1e9
}

func buildLoad(author, number uint32, size int) []byte {
	payload := make([]byte, max(size, loadHeader))
	copy(payload, "load")
	binary.BigEndian.PutUint32(payload[4:], author)
	binary.BigEndian.PutUint32(payload[8:], number)
	binary.BigEndian.PutUint64(payload[12:], math.Float64bits(clock()))
	return payload
}

type tally struct {
	lock        sync.Mutex
	held        map[uint32]map[uint32]struct{}
	latencies   []float64
	doubles     int
	strange     int
	first, last float64
}

func (t *tally) reset() {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.held, t.latencies, t.doubles, t.strange, t.first, t.last = map[uint32]map[uint32]struct{}{}, nil, 0, 0, 0, 0
}

func (t *tally) add(payload []byte) {
	t.lock.Lock()
	defer t.lock.Unlock()
	if len(payload) < loadHeader || string(payload[:4]) != "load" {
		t.strange++
		return
	}
	author, number := binary.BigEndian.Uint32(payload[4:]), binary.BigEndian.Uint32(payload[8:])
	if t.held[author] == nil {
		t.held[author] = map[uint32]struct{}{}
	}
	if _, there := t.held[author][number]; there {
		t.doubles++
		return
	}
	t.held[author][number] = struct{}{}
	t.last = clock()
	if t.first == 0 {
		t.first = t.last
	}
	t.latencies = append(t.latencies, t.last-math.Float64frombits(binary.BigEndian.Uint64(payload[12:])))
}

func (t *tally) report() map[string]any {
	t.lock.Lock()
	defer t.lock.Unlock()
	count, held := 0, map[string][][2]uint32{}
	for author, numbers := range t.held {
		count += len(numbers)
		ordered := make([]uint32, 0, len(numbers))
		for number := range numbers {
			ordered = append(ordered, number)
		}
		held[strconv.FormatUint(uint64(author), 10)] = runs(ordered)
	}
	sort.Float64s(t.latencies)
	result := map[string]any{"count": count, "doubles": t.doubles, "strange": t.strange, "held": held,
		"p50": nil, "p99": nil, "first": nil, "last": nil}
	if n := len(t.latencies); n > 0 {
		result["p50"], result["p99"] = t.latencies[n/2], t.latencies[min(n-1, n*99/100)]
		result["first"], result["last"] = t.first, t.last
	}
	return result
}

// runs of consecutive numbers, first and last of each.
func runs(numbers []uint32) [][2]uint32 {
	sort.Slice(numbers, func(i, j int) bool { return numbers[i] < numbers[j] })
	var found [][2]uint32
	for _, number := range numbers {
		if n := len(found); n > 0 && found[n-1][1] == number-1 {
			found[n-1][1] = number
		} else {
			found = append(found, [2]uint32{number, number})
		}
	}
	return found
}

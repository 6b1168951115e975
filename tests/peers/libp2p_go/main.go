// A go-libp2p node that does as it is told: a JSON line in, a JSON line out (tests/mesh/control.py says which).
// With `plain`, a payload is a gossip message of its own, which is how the library is measured; otherwise it takes
// part in a topic of ours: frames signed by the topic's key, in batches, and questions on a stream.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
)

type settings struct {
	Identity string `json:"identity"`
	Topic    string `json:"topic"`
	Author   uint32 `json:"author"`
	Port     int    `json:"port"`
	Plain    bool   `json:"plain"`
}

type order struct {
	ID        int      `json:"id"`
	Do        string   `json:"do"`
	Peer      string   `json:"peer"`
	Addresses []string `json:"addresses"`
	Protocol  string   `json:"protocol"`
	Count     int      `json:"count"`
	Size      int      `json:"size"`
	First     uint32   `json:"first"`
	Rate      float64  `json:"rate"`
}

type answerTo map[string]any

type node struct {
	settings settings
	key      ed25519.PrivateKey
	host     host.Host
	topic    *pubsub.Topic
	tally    tally
	lock     sync.Mutex
	counters map[string]int
}

func (n *node) count(what string, amount int) {
	n.lock.Lock()
	defer n.lock.Unlock()
	n.counters[what] += amount
}

func (n *node) read(subscription *pubsub.Subscription) {
	for {
		message, err := subscription.Next(context.Background())
		if err != nil {
			return
		}
		if message.ReceivedFrom == n.host.ID() {
			continue
		}
		if n.settings.Plain {
			n.tally.add(message.Data)
			continue
		}
		frames, heads, err := decodeBatch(message.Data)
		if err != nil {
			n.count("not a batch", 1)
			continue
		}
		n.count("batches", 1)
		n.count("heads", heads)
		for _, frame := range frames {
			payload, problem := openFrame(frame, n.key.Public().(ed25519.PublicKey), uint64(time.Now().UnixMilli()))
			if problem == "" {
				n.tally.add(payload)
			} else {
				n.count(problem, 1)
			}
		}
	}
}

func (n *node) publish(o order) (answerTo, error) {
	ctx, started := context.Background(), clock()
	var batch [][]byte
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		data := encodeBatch(batch)
		batch = nil
		return n.topic.Publish(ctx, data)
	}
	for i := range o.Count {
		if o.Rate > 0 {
			if wait := started + float64(i)/o.Rate - clock(); wait > 0 {
				if err := flush(); err != nil {
					return nil, err
				}
				time.Sleep(time.Duration(wait * 1e9))
			}
		}
		payload := buildLoad(n.settings.Author, o.First+uint32(i), o.Size)
		var err error
		if n.settings.Plain {
			err = n.topic.Publish(ctx, payload)
		} else {
			batch = append(batch, sealFrame(n.key, payload, uint64(time.Now().Add(time.Hour).UnixMilli())))
			if len(batch) >= 16 || len(batch)*o.Size > 32768 {
				err = flush()
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return answerTo{"published": o.Count, "seconds": clock() - started, "started": started}, flush()
}

func (n *node) keep(o order) (answerTo, error) {
	id, err := peer.Decode(o.Peer)
	if err != nil {
		return nil, err
	}
	info := peer.AddrInfo{ID: id}
	for _, text := range o.Addresses {
		address, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return nil, err
		}
		info.Addrs = append(info.Addrs, address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return answerTo{}, n.host.Connect(ctx, info)
}

func (n *node) ask(o order) (answerTo, error) {
	id, err := peer.Decode(o.Peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	stream, err := n.host.NewStream(ctx, id, askProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	_ = stream.SetDeadline(time.Now().Add(20 * time.Second))
	question := bytes.Repeat([]byte{7}, o.Size)
	if err := sendMessage(stream, encodeQuestion(o.Protocol, question)); err != nil {
		return nil, err
	}
	reply, err := receiveMessage(stream)
	if err != nil {
		return nil, err
	}
	if len(reply) == 0 {
		return nil, fmt.Errorf("an empty answer")
	}
	return answerTo{"status": reply[0], "same": bytes.Equal(reply[1:], question)}, nil
}

func (n *node) ping(o order) (answerTo, error) {
	id, err := peer.Decode(o.Peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	result := <-ping.Ping(ctx, n.host, id)
	return answerTo{"milliseconds": result.RTT.Seconds() * 1000}, result.Error
}

func (n *node) obey(o order) (answerTo, error) {
	switch o.Do {
	case "keep":
		return n.keep(o)
	case "join":
		subscription, err := n.topic.Subscribe(pubsub.WithBufferSize(4096))
		if err == nil {
			go n.read(subscription)
		}
		return answerTo{}, err
	case "neighbors":
		return answerTo{"count": len(n.topic.ListPeers())}, nil
	case "publish":
		return n.publish(o)
	case "report":
		return n.tally.report(), nil
	case "reset":
		n.tally.reset()
		return answerTo{}, nil
	case "counters":
		n.lock.Lock()
		defer n.lock.Unlock()
		copied := map[string]int{}
		for name, value := range n.counters {
			copied[name] = value
		}
		return answerTo{"counters": copied}, nil
	case "ask":
		return n.ask(o)
	case "ping":
		return n.ping(o)
	}
	return nil, fmt.Errorf("a worker of this kind does not know %s", o.Do)
}

func open(s settings) (*node, error) {
	seed, err := hex.DecodeString(s.Topic)
	if err != nil {
		return nil, err
	}
	identity, err := hex.DecodeString(s.Identity)
	if err != nil {
		return nil, err
	}
	private, _, err := crypto.GenerateEd25519Key(bytes.NewReader(identity))
	if err != nil {
		return nil, err
	}
	n := &node{settings: s, key: ed25519.NewKeyFromSeed(seed), counters: map[string]int{}}
	n.tally.reset()
	n.host, err = libp2p.New(
		libp2p.Identity(private),
		libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", s.Port)),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
	)
	if err != nil {
		return nil, err
	}
	n.host.SetStreamHandler(protocol.ID(askProtocol), answer)
	gossip, err := pubsub.NewGossipSub(context.Background(), n.host,
		pubsub.WithMaxMessageSize(maxPayload+65536),
		pubsub.WithPeerOutboundQueueSize(4096),
		pubsub.WithValidateQueueSize(4096))
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(n.key.Public().(ed25519.PublicKey))
	name := "vcd/1/" + hex.EncodeToString(id[:])
	if s.Plain {
		name = "load"
	}
	n.topic, err = gossip.Join(name)
	return n, err
}

func main() {
	var s settings
	if err := json.Unmarshal([]byte(os.Args[1]), &s); err != nil {
		panic(err)
	}
	n, err := open(s)
	if err != nil {
		panic(err)
	}
	var speaking sync.Mutex
	say := func(line answerTo) {
		encoded, err := json.Marshal(line)
		if err != nil {
			panic(err)
		}
		speaking.Lock()
		defer speaking.Unlock()
		_, _ = os.Stdout.Write(append(encoded, '\n'))
	}
	addresses := []string{}
	for _, address := range n.host.Addrs() {
		addresses = append(addresses, address.String())
	}
	say(answerTo{"id": 0, "ok": answerTo{"peer": n.host.ID().String(), "addresses": addresses}})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			panic(err)
		}
		if o.Do == "stop" {
			say(answerTo{"id": o.ID, "ok": answerTo{}})
			return
		}
		go func() {
			if result, err := n.obey(o); err != nil {
				say(answerTo{"id": o.ID, "error": err.Error()})
			} else {
				say(answerTo{"id": o.ID, "ok": result})
			}
		}()
	}
}

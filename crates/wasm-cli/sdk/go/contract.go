//go:build wasip1

package airssys

// The contract airssys:core@1.0.0 in the canonical ABI: what is in memory has the layout of
// the structs below, in which pointers are the 32 bits that they have in WebAssembly.

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"unsafe"
)

// What lies somewhere in memory: a string, or a list of bytes or of something else.
type list struct{ pointer, length uint32 }

type option struct {
	isSome uint8
	value  list
}

type abiID [3]list

type abiMessage struct {
	sender        abiID
	payload       list
	correlationID option
	replyTo       struct {
		isSome uint8
		value  abiID
	}
	seconds     uint64
	nanoseconds uint32
	_           uint32
	contentType option
}

type abiMetadata struct {
	texts      [5]list
	operations list
	stateful   uint8
}

// A result whose cases carry one list at the most.
type abiResult struct {
	isErr uint8
	value list
}

// The same of a variant, an option or what else has a case of its own.
type abiResultOfCase struct {
	isErr uint8
	case_ uint32
	value list
	// An error may carry an id, which has three.
	_ [2]list
}

// --- memory ---------------------------------------------------------------------

// What the host was given a pointer to, or got memory for: kept until the call ends.
var kept []any

// How much had been made when memory was last collected.
var collected uint64

// Collected is when so many bytes were made since.
const collectAt = 256 << 10

// Here, so that reading it makes nothing.
var made = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}

// Whether memory can be made as in any program: not while Go's runtime begins, which asks
// for the environment and the arguments by then.
var begun bool

//go:linkname sbrk runtime.sbrk
func sbrk(size uintptr) unsafe.Pointer

func init() {
	begun = true
	// Collecting reads a clock, which is not allowed at the moment at which the host asks for
	// memory; so it is done at the beginning of a call, by beginCall.
	debug.SetGCPercent(-1)
}

// What the host lent for this call has been copied by now.
func beginCall() {
	kept = kept[:0]
	metrics.Read(made)
	if now := made[0].Value.Uint64(); now > collected+collectAt {
		collected = now
		runtime.GC()
	}
}

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(uintptr(align))
	}
	if !begun {
		return sbrk(uintptr(size)) // whole pages of memory, which stay
	}
	// Words, so that it is aligned for all that the contract has.
	words := make([]uint64, (size+7)/8)
	kept = append(kept, words)
	block := unsafe.Pointer(unsafe.SliceData(words))
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(block), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return block
}

func address(pointer unsafe.Pointer) uint32 { return uint32(uintptr(pointer)) }

// Keeps a value for the host to read.
func lend[T any](value *T) unsafe.Pointer {
	kept = append(kept, value)
	return unsafe.Pointer(value)
}

func lendBytes(bytes []byte) list {
	if len(bytes) == 0 {
		return list{}
	}
	kept = append(kept, bytes)
	return list{address(unsafe.Pointer(unsafe.SliceData(bytes))), uint32(len(bytes))}
}

func lendText(text string) list {
	return lendBytes([]byte(strings.ToValidUTF8(text, "\ufffd")))
}

func lendID(id id) (lent abiID) {
	for i, segment := range id {
		lent[i] = lendText(segment)
	}
	return lent
}

func at[T any](lent list) []T {
	if lent.length == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(uintptr(lent.pointer))), lent.length)
}

// Copies what the host lent.
func (lent list) bytes() []byte { return append([]byte{}, at[byte](lent)...) }

func (lent list) text() string { return string(at[byte](lent)) }

func (lent abiID) id() id {
	return id{lent[0].text(), lent[1].text(), lent[2].text()}
}

func (lent option) text() string {
	if lent.isSome == 0 {
		return ""
	}
	return lent.value.text()
}

// --- what the host offers -------------------------------------------------------

//go:wasmimport airssys:core/host-messaging@1.0.0 send
func importSend(n0, n1, m0, m1, i0, i1, payload, length uint32, result unsafe.Pointer)

//go:wasmimport airssys:core/host-messaging@1.0.0 request
func importRequest(n0, n1, m0, m1, i0, i1, payload, length uint32, timeout uint64, result unsafe.Pointer)

//go:wasmimport airssys:core/host-messaging@1.0.0 cancel-request
func importCancel(id, length uint32, result unsafe.Pointer)

//go:wasmimport airssys:core/host-messaging@1.0.0 broadcast
func importBroadcast(targets, count, payload, length uint32, result unsafe.Pointer)

//go:wasmimport airssys:core/host-messaging@1.0.0 self-id
func importSelfID(result unsafe.Pointer)

//go:wasmimport airssys:core/host-services@1.0.0 log
func importLog(level, message, length, hasContext, context, count uint32)

//go:wasmimport airssys:core/host-services@1.0.0 current-time-millis
func importNow() uint64

//go:wasmimport airssys:core/host-services@1.0.0 sleep-millis
func importSleep(milliseconds uint64)

//go:wasmimport airssys:core/storage@1.0.0 get
func importGet(key, keyLength uint32, result unsafe.Pointer)

//go:wasmimport airssys:core/storage@1.0.0 set
func importSet(key, keyLength, value, length uint32, result unsafe.Pointer)

//go:wasmimport airssys:core/storage@1.0.0 delete
func importDelete(key, keyLength uint32, result unsafe.Pointer)

//go:wasmimport airssys:core/host-services@1.0.0 list-components
func importComponents(result unsafe.Pointer)

//go:wasmimport airssys:core/storage@1.0.0 exists
func importExists(key, keyLength uint32, result unsafe.Pointer)

//go:wasmimport airssys:core/storage@1.0.0 usage
func importUsage(result unsafe.Pointer)

//go:wasmimport airssys:core/storage@1.0.0 list-keys
func importKeys(hasPrefix, prefix, length uint32, result unsafe.Pointer)

var messagingCases = []string{
	"delivery-failed", "correlation-timeout", "invalid-message", "queue-full", "target-not-found",
}

var storageCases = []string{
	"not-found", "already-exists", "quota-exceeded", "invalid-key", "io-error",
}

func (result *abiResultOfCase) messaging() error {
	if result.isErr == 0 {
		return nil
	}
	refused := &HostError{Code: messagingCases[uint8(result.case_)]}
	switch refused.Code {
	case "queue-full":
	case "target-not-found":
		refused.Reason = (*abiID)(unsafe.Pointer(&result.value)).id().String()
	default:
		refused.Reason = result.value.text()
	}
	return refused
}

func (result *abiResultOfCase) storage() error {
	if result.isErr == 0 {
		return nil
	}
	refused := &HostError{Code: storageCases[uint8(result.case_)]}
	if refused.Code != "quota-exceeded" {
		refused.Reason = result.value.text()
	}
	return refused
}

func hostSend(to id, payload []byte) error {
	var result abiResultOfCase
	target, bytes := lendID(to), lendBytes(payload)
	importSend(target[0].pointer, target[0].length, target[1].pointer, target[1].length,
		target[2].pointer, target[2].length, bytes.pointer, bytes.length, lend(&result))
	return result.messaging()
}

func hostRequest(to id, payload []byte, timeout uint64) (string, error) {
	var result abiResultOfCase
	target, bytes := lendID(to), lendBytes(payload)
	importRequest(target[0].pointer, target[0].length, target[1].pointer, target[1].length,
		target[2].pointer, target[2].length, bytes.pointer, bytes.length, timeout, lend(&result))
	if err := result.messaging(); err != nil {
		return "", err
	}
	// The id is where an error has its case.
	return (*abiResult)(unsafe.Pointer(&result)).value.text(), nil
}

func hostCancel(request string) error {
	var result abiResultOfCase
	id := lendText(request)
	importCancel(id.pointer, id.length, lend(&result))
	return result.messaging()
}

func hostBroadcast(to []id, payload []byte) error {
	var result abiResultOfCase
	targets := make([]abiID, len(to))
	for i, id := range to {
		targets[i] = lendID(id)
	}
	kept = append(kept, targets)
	bytes := lendBytes(payload)
	importBroadcast(address(unsafe.Pointer(unsafe.SliceData(targets))), uint32(len(targets)),
		bytes.pointer, bytes.length, lend(&result))
	return result.messaging()
}

func hostSelfID() id {
	var own abiID
	importSelfID(lend(&own))
	return own.id()
}

func hostLog(level Level, line string) {
	message := lendText(line)
	importLog(uint32(level), message.pointer, message.length, 0, 0, 0)
}

func hostNow() uint64 { return importNow() }

func hostSleep(milliseconds uint64) { importSleep(milliseconds) }

func hostGet(key string) ([]byte, error) {
	var result abiResultOfCase
	name := lendText(key)
	importGet(name.pointer, name.length, lend(&result))
	if err := result.storage(); err != nil {
		return nil, err
	}
	// The option is where an error has its case.
	if uint8(result.case_) == 0 {
		return nil, nil
	}
	return result.value.bytes(), nil
}

func hostSet(key string, value []byte) error {
	var result abiResultOfCase
	name, bytes := lendText(key), lendBytes(value)
	importSet(name.pointer, name.length, bytes.pointer, bytes.length, lend(&result))
	return result.storage()
}

func hostDelete(key string) error {
	var result abiResultOfCase
	name := lendText(key)
	importDelete(name.pointer, name.length, lend(&result))
	return result.storage()
}

func hostExists(key string) (bool, error) {
	var result abiResultOfCase
	name := lendText(key)
	importExists(name.pointer, name.length, lend(&result))
	if err := result.storage(); err != nil {
		return false, err
	}
	// It is where an error has its case.
	return uint8(result.case_) != 0, nil
}

func hostUsage() (Usage, error) {
	// Numbers of 64 bits are aligned to as many, and so is an error in their place.
	var result struct {
		isErr uint8
		_     [7]uint8
		usage Usage
	}
	importUsage(lend(&result))
	if result.isErr != 0 {
		err := abiResultOfCase{isErr: 1}
		err.case_ = uint32(result.usage.UsedBytes)
		err.value = list{uint32(result.usage.UsedBytes >> 32), uint32(result.usage.QuotaBytes)}
		return Usage{}, err.storage()
	}
	return result.usage, nil
}

func hostComponents() []id {
	var result list
	importComponents(lend(&result))
	found := at[abiID](result)
	ids := make([]id, len(found))
	for i, lent := range found {
		ids[i] = lent.id()
	}
	return ids
}

func hostKeys(prefix string) ([]string, error) {
	var result abiResultOfCase
	begin := lendText(prefix)
	importKeys(1, begin.pointer, begin.length, lend(&result))
	if err := result.storage(); err != nil {
		return nil, err
	}
	found := at[list]((*abiResult)(unsafe.Pointer(&result)).value)
	keys := make([]string, len(found))
	for i, key := range found {
		keys[i] = key.text()
	}
	return keys, nil
}

// --- what a component exports ---------------------------------------------------

// The cases of errors that are answered.
const (
	initializationFailed = 0
	shutdownFailed       = 3
	runtimeError         = 6
)

func failed(case_ uint32, err error) unsafe.Pointer {
	return lend(&abiResultOfCase{isErr: 1, case_: case_, value: lendText(err.Error())})
}

//go:wasmexport airssys:core/component-lifecycle@1.0.0#initialize
func exportInitialize(variables, count, hasData, data, length uint32, memory, time uint64, hasFuel uint32, fuel uint64) unsafe.Pointer {
	config := Config{Variables: map[string]string{}}
	for _, variable := range at[[2]list](list{variables, count}) {
		config.Variables[variable[0].text()] = variable[1].text()
	}
	if hasData != 0 {
		config.Data = list{data, length}.bytes()
	}
	beginCall()
	running, err := exported.start(config)
	if err != nil {
		return failed(initializationFailed, err)
	}
	exported.running = running
	return lend(&abiResultOfCase{})
}

func messageAt(pointer unsafe.Pointer) (message Message, request string) {
	lent := (*abiMessage)(pointer)
	message = Message{
		From:        lent.sender.id().String(),
		Payload:     lent.payload.bytes(),
		ContentType: lent.contentType.text(),
	}
	return message, lent.correlationID.text()
}

//go:wasmexport airssys:core/component-lifecycle@1.0.0#handle-message
func exportHandleMessage(lent unsafe.Pointer) unsafe.Pointer {
	message, _ := messageAt(lent)
	beginCall()
	reply, err := exported.running.Handle(message)
	if err != nil {
		return failed(runtimeError, err)
	}
	result := &abiResultOfCase{}
	if reply != nil {
		// The option is where an error has its case.
		result.case_, result.value = 1, lendBytes(reply)
	}
	return lend(result)
}

//go:wasmexport airssys:core/component-lifecycle@1.0.0#handle-callback
func exportHandleCallback(lent unsafe.Pointer) unsafe.Pointer {
	message, request := messageAt(lent)
	beginCall()
	if err := answered(request, message); err != nil {
		return failed(runtimeError, err)
	}
	return lend(&abiResultOfCase{})
}

//go:wasmexport airssys:core/component-lifecycle@1.0.0#metadata
func exportMetadata() unsafe.Pointer {
	beginCall()
	about := exported.about
	metadata := &abiMetadata{stateful: 1}
	texts := [...]string{about.Name, about.Version, about.Description, about.Author, about.License}
	for i, text := range texts {
		metadata.texts[i] = lendText(text)
	}
	operations := make([]list, len(about.Operations))
	for i, operation := range about.Operations {
		operations[i] = lendText(operation)
	}
	kept = append(kept, operations)
	metadata.operations = list{address(unsafe.Pointer(unsafe.SliceData(operations))), uint32(len(operations))}
	return lend(metadata)
}

//go:wasmexport airssys:core/component-lifecycle@1.0.0#health
func exportHealth() uint32 {
	switch running := exported.running.(type) {
	case Healthy:
		return uint32(running.Health())
	case nil:
		return uint32(HealthUnknown)
	default:
		return uint32(HealthHealthy)
	}
}

//go:wasmexport airssys:core/component-lifecycle@1.0.0#shutdown
func exportShutdown() unsafe.Pointer {
	beginCall()
	if running, ok := exported.running.(Stopping); ok {
		if err := running.Shutdown(); err != nil {
			return failed(shutdownFailed, err)
		}
	}
	return lend(&abiResultOfCase{})
}

;; What the fixtures with a component-lifecycle have in common: a memory, an
;; allocator, the six functions of the interface with an uneventful answer each,
;; and helpers for reading a message and writing an answer.
;;
;; `cargo xtask fixtures` appends this file to every fixture that says
;; `;; include: lifecycle.wat`, without the items that the fixture defines itself
;; (same keyword, same name) and without functions that nothing mentions. What a
;; fixture's own file shows is therefore what is special about it. Items start in
;; the first column, here and there.
;;
;; Memory:
;;   0x000  the answer that is being returned
;;   0x040  the result of a host function
;;   0x080  where a message is to go: component-id, then its text
;;   0x100  texts of the fixture
;;   0x800  texts of this file
;;   0x1000 the heap: arguments, host results, text under construction
;;
;; The host lowers arguments before the function starts and reads the answer
;; after it has returned, so the heap is emptied in the post-return functions.

(memory $memory (export "memory") 1)

;; The next free byte, and where the heap starts over after each call.
(global $heap (mut i32) (i32.const 0x1000))
(global $kept (mut i32) (i32.const 0x1000))
;; The start of the text under construction.
(global $text (mut i32) (i32.const 0))
;; What `metadata` says about state.
(global $stateful i32 (i32.const 0))

(data (i32.const 0x800) "fixture")
(data (i32.const 0x810) "1.0.0")
(data (i32.const 0x820) "a component with a known behaviour")
(data (i32.const 0x850) "airssys-wasm")
(data (i32.const 0x860) "MIT OR Apache-2.0")
(data (i32.const 0x880) "message")
(data (i32.const 0x888) "\80\08\00\00\07\00\00\00") ;; list of that one operation
(data (i32.const 0x890) "ok")
;; Names of the cases of errors, 24 bytes each.
;; storage-error
(data (i32.const 0x900)
  "not-found\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00"
  "already-exists\00\00\00\00\00\00\00\00\00\00"
  "quota-exceeded\00\00\00\00\00\00\00\00\00\00"
  "invalid-key\00\00\00\00\00\00\00\00\00\00\00\00\00"
  "io-error\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
;; messaging-error
(data (i32.const 0x980)
  "delivery-failed\00\00\00\00\00\00\00\00\00"
  "correlation-timeout\00\00\00\00\00"
  "invalid-message\00\00\00\00\00\00\00\00\00"
  "queue-full\00\00\00\00\00\00\00\00\00\00\00\00\00\00"
  "target-not-found\00\00\00\00\00\00\00\00")
;; component-error
(data (i32.const 0xa00)
  "initialization-failed\00\00\00"
  "already-initialized\00\00\00\00\00"
  "not-initialized\00\00\00\00\00\00\00\00\00"
  "shutdown-failed\00\00\00\00\00\00\00\00\00"
  "invalid-state\00\00\00\00\00\00\00\00\00\00\00")

(export "cabi_realloc" (func $realloc))
(export "airssys:core/component-lifecycle@1.0.0#initialize" (func $initialize))
(export "airssys:core/component-lifecycle@1.0.0#handle-message" (func $handle-message))
(export "airssys:core/component-lifecycle@1.0.0#handle-callback" (func $handle-callback))
(export "airssys:core/component-lifecycle@1.0.0#metadata" (func $metadata))
(export "airssys:core/component-lifecycle@1.0.0#health" (func $health))
(export "airssys:core/component-lifecycle@1.0.0#shutdown" (func $shutdown))
(export "cabi_post_airssys:core/component-lifecycle@1.0.0#initialize" (func $after-initialize))
(export "cabi_post_airssys:core/component-lifecycle@1.0.0#handle-message" (func $after-message))
(export "cabi_post_airssys:core/component-lifecycle@1.0.0#handle-callback" (func $after-callback))
(export "cabi_post_airssys:core/component-lifecycle@1.0.0#metadata" (func $after-metadata))
(export "cabi_post_airssys:core/component-lifecycle@1.0.0#shutdown" (func $after-shutdown))

;; component-config, flattened: env-vars, config-data, max-memory-bytes,
;; max-execution-time-ms, max-fuel.
(func $initialize
  (param $env i32) (param $env-length i32)
  (param $has-data i32) (param $data i32) (param $data-length i32)
  (param $memory-bytes i64) (param $time-ms i64)
  (param $has-fuel i32) (param $fuel i64)
  (result i32)
  (call $ok))

;; component-message comes as a pointer:
;;    0 sender.namespace   8 sender.name   16 sender.instance   24 payload
;;   32 correlation-id, text at 36         44 reply-to, component-id at 48
;;   72 timestamp.seconds 80 .nanoseconds  88 content-type, text at 92
(func $handle-message (param $message i32) (result i32)
  (call $none))

(func $handle-callback (param $message i32) (result i32)
  (call $ok))

(func $metadata (result i32)
  (call $put-text (i32.const 0x00) (i32.const 0x800) (i32.const 7))
  (call $put-text (i32.const 0x08) (i32.const 0x810) (i32.const 5))
  (call $put-text (i32.const 0x10) (i32.const 0x820) (i32.const 34))
  (call $put-text (i32.const 0x18) (i32.const 0x850) (i32.const 12))
  (call $put-text (i32.const 0x20) (i32.const 0x860) (i32.const 17))
  (call $put-text (i32.const 0x28) (i32.const 0x888) (i32.const 1))
  (i32.store8 (i32.const 0x30) (global.get $stateful))
  (i32.const 0))

(func $health (result i32)
  (i32.const 0)) ;; healthy

(func $shutdown (result i32)
  (call $ok))

(func $after-initialize (param $answer i32)
  (call $empty-heap))

(func $after-message (param $answer i32)
  (call $empty-heap))

(func $after-callback (param $answer i32)
  (call $empty-heap))

(func $after-metadata (param $answer i32)
  (call $empty-heap))

(func $after-shutdown (param $answer i32)
  (call $empty-heap))

;; Never frees a single block; traps when the memory may not grow.
(func $realloc (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
  (local $at i32) (local $end i32) (local $pages i32)
  (local.set $at
    (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
  (local.set $end (i32.add (local.get $at) (local.get $size)))
  (if (i32.lt_u (local.get $end) (local.get $at))
    (then (unreachable)))
  (local.set $pages
    (i32.sub
      (i32.shr_u (i32.add (local.get $end) (i32.const 0xffff)) (i32.const 16))
      (memory.size)))
  (if (i32.gt_s (local.get $pages) (i32.const 0))
    (then
      (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1))
        (then (unreachable)))))
  (memory.copy (local.get $at) (local.get $old)
    (select (local.get $old-size) (local.get $size)
      (i32.lt_u (local.get $old-size) (local.get $size))))
  (global.set $heap (local.get $end))
  (local.get $at))

(func $empty-heap
  (global.set $heap (global.get $kept)))

;; Everything on the heap stays there for good.
(func $keep-heap
  (global.set $kept (global.get $heap)))

;; Answers. result<option<list<u8>>, wasm-error>, result<_, wasm-error> and
;; result<_, component-error> are laid out alike.

(func $ok (result i32)
  (i32.store8 (i32.const 0) (i32.const 0))
  (i32.const 0))

(func $none (result i32)
  (i32.store8 (i32.const 0) (i32.const 0))
  (i32.store8 (i32.const 4) (i32.const 0))
  (i32.const 0))

(func $some (param $at i32) (param $length i32) (result i32)
  (i32.store8 (i32.const 0) (i32.const 0))
  (i32.store8 (i32.const 4) (i32.const 1))
  (call $put-text (i32.const 8) (local.get $at) (local.get $length))
  (i32.const 0))

(func $error (param $case i32) (param $at i32) (param $length i32) (result i32)
  (i32.store8 (i32.const 0) (i32.const 1))
  (i32.store8 (i32.const 4) (local.get $case))
  (call $put-text (i32.const 8) (local.get $at) (local.get $length))
  (i32.const 0))

(func $runtime-error (param $at i32) (param $length i32) (result i32)
  (call $error (i32.const 6) (local.get $at) (local.get $length)))

(func $echo (param $message i32) (result i32)
  (call $some (call $payload (local.get $message))))

;; Failures of the host. A host function leaves its result at 0x40: whether it
;; failed, and at 0x44 the case, which a fixture passes on by name.

(func $failed (result i32)
  (i32.load8_u (i32.const 0x40)))

(func $storage-failed (result i32)
  (call $runtime-error (call $storage-case)))

(func $messaging-failed (result i32)
  (call $runtime-error (call $messaging-case)))

(func $storage-case (result i32 i32)
  (call $case (i32.const 0x900)))

(func $messaging-case (result i32 i32)
  (call $case (i32.const 0x980)))

(func $component-case (result i32 i32)
  (call $case (i32.const 0xa00)))

(func $case (param $names i32) (result i32 i32)
  (local $at i32)
  (local.set $at
    (i32.add
      (local.get $names)
      (i32.mul (i32.load8_u (i32.const 0x44)) (i32.const 24))))
  (local.get $at)
  (call $find (local.get $at) (i32.const 24) (i32.const 0)))

;; Reading.

(func $payload (param $message i32) (result i32 i32)
  (call $get-text (i32.add (local.get $message) (i32.const 24))))

;; The text whose address and length are at `from`.
(func $get-text (param $from i32) (result i32 i32)
  (i32.load (local.get $from))
  (i32.load offset=4 (local.get $from)))

(func $put-text (param $to i32) (param $at i32) (param $length i32)
  (i32.store (local.get $to) (local.get $at))
  (i32.store offset=4 (local.get $to) (local.get $length)))

(func $asks-ok (param $message i32) (result i32)
  (call $equal (call $payload (local.get $message)) (i32.const 0x890) (i32.const 2)))

(func $equal (param $a i32) (param $a-length i32) (param $b i32) (param $b-length i32) (result i32)
  (if (i32.ne (local.get $a-length) (local.get $b-length))
    (then (return (i32.const 0))))
  (call $starts-with
    (local.get $a) (local.get $a-length) (local.get $b) (local.get $b-length)))

(func $starts-with (param $text i32) (param $length i32) (param $start i32) (param $start-length i32) (result i32)
  (local $i i32)
  (if (i32.lt_u (local.get $length) (local.get $start-length))
    (then (return (i32.const 0))))
  (loop $next
    (if (i32.eq (local.get $i) (local.get $start-length))
      (then (return (i32.const 1))))
    (if (i32.ne
          (i32.load8_u (i32.add (local.get $text) (local.get $i)))
          (i32.load8_u (i32.add (local.get $start) (local.get $i))))
      (then (return (i32.const 0))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next))
  (unreachable))

;; How many bytes come before the first `byte`; all of them without one.
(func $find (param $at i32) (param $length i32) (param $byte i32) (result i32)
  (local $i i32)
  (loop $next
    (if (i32.eq (local.get $i) (local.get $length))
      (then (return (local.get $i))))
    (if (i32.eq
          (i32.load8_u (i32.add (local.get $at) (local.get $i)))
          (local.get $byte))
      (then (return (local.get $i))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next))
  (unreachable))

;; Decimal digits up to the first other byte.
(func $number (param $at i32) (param $length i32) (result i64)
  (local $i i32) (local $digit i32) (local $number i64)
  (loop $next
    (if (i32.eq (local.get $i) (local.get $length))
      (then (return (local.get $number))))
    (local.set $digit
      (i32.sub
        (i32.load8_u (i32.add (local.get $at) (local.get $i)))
        (i32.const 0x30)))
    (if (i32.gt_u (local.get $digit) (i32.const 9))
      (then (return (local.get $number))))
    (local.set $number
      (i64.add
        (i64.mul (local.get $number) (i64.const 10))
        (i64.extend_i32_u (local.get $digit))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next))
  (unreachable))

;; `namespace/name/instance text`: the component-id to 0x80, the text to 0x98.
(func $read-target (param $at i32) (param $length i32)
  (call $cut (i32.const 0x80) (local.get $at) (local.get $length) (i32.const 0x2f))
  (call $cut (i32.const 0x88) (call $get-text (i32.const 0x98)) (i32.const 0x2f))
  (call $cut (i32.const 0x90) (call $get-text (i32.const 0x98)) (i32.const 0x20)))

;; What comes before the first `byte` goes to `to`, the rest to 0x98.
(func $cut (param $to i32) (param $at i32) (param $length i32) (param $byte i32)
  (local $before i32)
  (local.set $before (call $find (local.get $at) (local.get $length) (local.get $byte)))
  (call $put-text (local.get $to) (local.get $at) (local.get $before))
  (if (i32.lt_u (local.get $before) (local.get $length))
    (then (local.set $before (i32.add (local.get $before) (i32.const 1)))))
  (call $put-text (i32.const 0x98)
    (i32.add (local.get $at) (local.get $before))
    (i32.sub (local.get $length) (local.get $before))))

;; Writing. A text is the heap from $begin-text to $end-text; nothing else may
;; be allocated in between.

(func $begin-text
  (global.set $text (global.get $heap)))

(func $end-text (result i32 i32)
  (global.get $text)
  (i32.sub (global.get $heap) (global.get $text)))

(func $append (param $at i32) (param $length i32)
  (memory.copy
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (local.get $length))
    (local.get $at)
    (local.get $length)))

(func $append-byte (param $byte i32)
  (i32.store8
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1))
    (local.get $byte)))

(func $append-number (param $number i64)
  (if (i64.ge_u (local.get $number) (i64.const 10))
    (then (call $append-number (i64.div_u (local.get $number) (i64.const 10)))))
  (call $append-byte
    (i32.add
      (i32.const 0x30)
      (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))))))

;; Exactly `count` digits, with leading zeros.
(func $append-digits (param $number i64) (param $count i32)
  (if (i32.gt_u (local.get $count) (i32.const 1))
    (then
      (call $append-digits
        (i64.div_u (local.get $number) (i64.const 10))
        (i32.sub (local.get $count) (i32.const 1)))))
  (call $append-byte
    (i32.add
      (i32.const 0x30)
      (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10))))))

;; The timestamp at `time` as seconds.nanoseconds, nine digits of the latter.
(func $append-time (param $time i32)
  (call $append-number (i64.load (local.get $time)))
  (call $append-byte (i32.const 0x2e))
  (call $append-digits (i64.load32_u offset=8 (local.get $time)) (i32.const 9)))

;; The option<string> at `option`; a hyphen without one.
(func $append-option (param $option i32)
  (if (i32.load8_u (local.get $option))
    (then (call $append (call $get-text (i32.add (local.get $option) (i32.const 4)))))
    (else (call $append-byte (i32.const 0x2d)))))

;; The component-id at `id` as namespace/name/instance.
(func $append-id (param $id i32)
  (call $append (call $get-text (local.get $id)))
  (call $append-byte (i32.const 0x2f))
  (call $append (call $get-text (i32.add (local.get $id) (i32.const 8))))
  (call $append-byte (i32.const 0x2f))
  (call $append (call $get-text (i32.add (local.get $id) (i32.const 16)))))

;; world: runtime-host
;; include: lifecycle.wat
;; Looks up in its storage, under the name of each function of the lifecycle that is
;; called, what to do there, before it answers as usual; messages are echoed. Commands
;; go by their first letter: `trap`; `loop`, without end; `grow`, until memory is denied,
;; then trap; `send` the name of the function to demo/sink/main, whatever comes of it;
;; `wait MS`, in the host; `fail N`, with the error that has this number in the contract,
;; and for `health` with that status. Everything else, and nothing, is fine.
(import "airssys:core/storage@1.0.0" "get" (func $get (param i32 i32 i32)))
(import "airssys:core/host-services@1.0.0" "sleep-millis" (func $sleep-millis (param i64)))
(import "airssys:core/host-messaging@1.0.0" "send"
  (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))

(data (i32.const 0x100) "initialize")
(data (i32.const 0x110) "handle-message")
(data (i32.const 0x120) "handle-callback")
(data (i32.const 0x130) "health")
(data (i32.const 0x140) "metadata")
(data (i32.const 0x150) "shutdown")
(data (i32.const 0x160) "demo")
(data (i32.const 0x168) "sink")
(data (i32.const 0x170) "main")
(data (i32.const 0x178) "as stored")

(func $initialize
  (param $env i32) (param $env-length i32)
  (param $has-data i32) (param $data i32) (param $data-length i32)
  (param $memory-bytes i64) (param $time-ms i64)
  (param $has-fuel i32) (param $fuel i64)
  (result i32)
  (call $answer (i32.const 0x100) (i32.const 10)))

(func $handle-message (param $message i32) (result i32)
  (local $case i32)
  (local.set $case (call $obey (i32.const 0x110) (i32.const 14)))
  (if (i32.ge_s (local.get $case) (i32.const 0))
    (then (return (call $error (local.get $case) (i32.const 0x178) (i32.const 9)))))
  (call $echo (local.get $message)))

(func $handle-callback (param $message i32) (result i32)
  (call $answer (i32.const 0x120) (i32.const 15)))

(func $metadata (result i32)
  (drop (call $obey (i32.const 0x140) (i32.const 8)))
  (call $put-text (i32.const 0x00) (i32.const 0x800) (i32.const 7))
  (call $put-text (i32.const 0x08) (i32.const 0x810) (i32.const 5))
  (call $put-text (i32.const 0x10) (i32.const 0x820) (i32.const 34))
  (call $put-text (i32.const 0x18) (i32.const 0x850) (i32.const 12))
  (call $put-text (i32.const 0x20) (i32.const 0x860) (i32.const 17))
  (call $put-text (i32.const 0x28) (i32.const 0x888) (i32.const 1))
  (i32.store8 (i32.const 0x30) (i32.const 0))
  (i32.const 0))

;; Nobody tells a component that its health has been read.
(func $health (result i32)
  (local $status i32)
  (local.set $status (call $obey (i32.const 0x130) (i32.const 6)))
  (call $empty-heap)
  (select (local.get $status) (i32.const 0)
    (i32.ge_s (local.get $status) (i32.const 0))))

(func $shutdown (result i32)
  (call $answer (i32.const 0x150) (i32.const 8)))

(func $answer (param $name i32) (param $length i32) (result i32)
  (local $case i32)
  (local.set $case (call $obey (local.get $name) (local.get $length)))
  (if (i32.ge_s (local.get $case) (i32.const 0))
    (then (return (call $error (local.get $case) (i32.const 0x178) (i32.const 9)))))
  (call $ok))

;; The number of the error to answer with; -1 for none.
(func $obey (param $name i32) (param $length i32) (result i32)
  (local $command i32)
  (call $get (local.get $name) (local.get $length) (i32.const 0x40))
  (if (i32.or (call $failed) (i32.eqz (i32.load8_u (i32.const 0x44))))
    (then (return (i32.const -1))))
  (if (i32.eqz (i32.load (i32.const 0x4c)))
    (then (return (i32.const -1))))
  (local.set $command (i32.load8_u (i32.load (i32.const 0x48))))
  (call $cut (i32.const 0x80) (call $get-text (i32.const 0x48)) (i32.const 0x20))
  (if (i32.eq (local.get $command) (i32.const 0x74)) ;; t
    (then (unreachable)))
  (if (i32.eq (local.get $command) (i32.const 0x6c)) ;; l
    (then
      (loop $forever (br $forever))
      (unreachable)))
  (if (i32.eq (local.get $command) (i32.const 0x67)) ;; g
    (then
      (loop $more
        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      (unreachable)))
  (if (i32.eq (local.get $command) (i32.const 0x73)) ;; s
    (then
      (call $send
        (i32.const 0x160) (i32.const 4)
        (i32.const 0x168) (i32.const 4)
        (i32.const 0x170) (i32.const 4)
        (local.get $name) (local.get $length)
        (i32.const 0x40))))
  (if (i32.eq (local.get $command) (i32.const 0x77)) ;; w
    (then (call $sleep-millis (call $number (call $get-text (i32.const 0x98))))))
  (if (i32.eq (local.get $command) (i32.const 0x66)) ;; f
    (then (return (i32.wrap_i64 (call $number (call $get-text (i32.const 0x98)))))))
  (i32.const -1))

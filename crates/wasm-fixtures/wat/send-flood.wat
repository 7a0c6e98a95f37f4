;; world: runtime-host
;; include: lifecycle.wat
;; Sends 100,000 messages to demo/sink/main, or as many as are accepted, and answers
;; how many those were, followed by why there were no more: `1024 queue-full`.
(import "airssys:core/host-messaging@1.0.0" "send"
  (func $send
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))

(data (i32.const 0x100) "demo")
(data (i32.const 0x108) "sink")
(data (i32.const 0x110) "main")
(data (i32.const 0x118) "flood")

(func $handle-message (param $message i32) (result i32)
  (local $count i32)
  (block $done
    (loop $next
      (call $send
        (i32.const 0x100) (i32.const 4)
        (i32.const 0x108) (i32.const 4)
        (i32.const 0x110) (i32.const 4)
        (i32.const 0x118) (i32.const 5)
        (i32.const 0x40))
      (br_if $done (call $failed))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $count) (i32.const 100000)))))
  (call $begin-text)
  (call $append-number (i64.extend_i32_u (local.get $count)))
  (if (call $failed)
    (then
      (call $append-byte (i32.const 0x20))
      (call $append (call $messaging-case))))
  (call $some (call $end-text)))

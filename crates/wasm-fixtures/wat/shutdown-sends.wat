;; world: runtime-host
;; include: lifecycle.wat
;; Has a last word: `shutdown` sends `bye` to demo/sink/main, answers shutdown-failed
;; with the name of the error's case if that is refused, and ok otherwise. Any message is
;; answered with itself.
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
(data (i32.const 0x118) "bye")

(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $shutdown (result i32)
  (call $send
    (i32.const 0x100) (i32.const 4)
    (i32.const 0x108) (i32.const 4)
    (i32.const 0x110) (i32.const 4)
    (i32.const 0x118) (i32.const 3)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $error (i32.const 3) (call $messaging-case)))))
  (call $ok))

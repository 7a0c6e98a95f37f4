;; world: runtime-host
;; include: lifecycle.wat
;; Asks others while it ends: `shutdown` asks demo/sink/main `bye`, giving it 1000 ms,
;; answers shutdown-failed with the name of the error's case if that is refused, and ok
;; otherwise. Any message is answered with itself.
(import "airssys:core/host-messaging@1.0.0" "request"
  (func $request
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $timeout-ms i64)
    (param $result i32)))

(data (i32.const 0x100) "demo")
(data (i32.const 0x108) "sink")
(data (i32.const 0x110) "main")
(data (i32.const 0x118) "bye")

(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $shutdown (result i32)
  (call $request
    (i32.const 0x100) (i32.const 4)
    (i32.const 0x108) (i32.const 4)
    (i32.const 0x110) (i32.const 4)
    (i32.const 0x118) (i32.const 3)
    (i64.const 1000)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $error (i32.const 3) (call $messaging-case)))))
  (call $ok))

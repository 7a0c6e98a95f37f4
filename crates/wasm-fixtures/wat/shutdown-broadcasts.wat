;; world: runtime-host
;; include: lifecycle.wat
;; Has a last word for everybody: `shutdown` broadcasts `bye` to demo/sink/main and
;; demo/drain/main, answers shutdown-failed with the name of the error's case if that is
;; refused, and ok otherwise. Any message is answered with itself.
(import "airssys:core/host-messaging@1.0.0" "broadcast"
  (func $broadcast
    (param $targets i32) (param $count i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))

(data (i32.const 0x100) "demo")
(data (i32.const 0x108) "sink")
(data (i32.const 0x110) "main")
(data (i32.const 0x118) "bye")
(data (i32.const 0x120) "drain")
;; component-id twice
(data (i32.const 0x130)
  "\00\01\00\00\04\00\00\00\08\01\00\00\04\00\00\00\10\01\00\00\04\00\00\00"
  "\00\01\00\00\04\00\00\00\20\01\00\00\05\00\00\00\10\01\00\00\04\00\00\00")

(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $shutdown (result i32)
  (call $broadcast
    (i32.const 0x130) (i32.const 2)
    (i32.const 0x118) (i32.const 3)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $error (i32.const 3) (call $messaging-case)))))
  (call $ok))

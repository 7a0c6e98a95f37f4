;; world: wrong-type
;; wit: wrong-type.wit
;; include: lifecycle.wat
;; Exports a component-lifecycle whose `handle-message` takes and returns bytes.
(func $handle-message (param $at i32) (param $length i32) (result i32)
  (call $put-text (i32.const 0) (local.get $at) (local.get $length))
  (i32.const 0))

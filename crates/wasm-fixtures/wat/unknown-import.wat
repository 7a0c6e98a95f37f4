;; world: unknown-import
;; include: lifecycle.wat
;; Needs a function that no host of this contract has.
(import "acme:db/query@1.0.0" "run" (func $run))

(func $handle-message (param $message i32) (result i32)
  (call $run)
  (call $none))

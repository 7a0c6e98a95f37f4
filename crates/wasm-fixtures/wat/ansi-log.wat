;; world: runtime-host
;; include: lifecycle.wat
;; Logs what would deceive the reader of a terminal or of a log file: colours, a
;; line that looks like another component's, a carriage return, a bell, a NUL, and
;; the same in the context. Then answers none.
(import "airssys:core/host-services@1.0.0" "log"
  (func $log (param $level i32) (param $at i32) (param $length i32)
    (param $has-context i32) (param $context i32) (param $context-length i32)))

(data (i32.const 0x100) "\1b[31mred\1b[0m\nERROR other/component/main forged\rover\07\00end")
(data (i32.const 0x180) "ke\1b[2Jy")
(data (i32.const 0x188) "va\nlue")
(data (i32.const 0x190) "\80\01\00\00\07\00\00\00\88\01\00\00\06\00\00\00")

(func $handle-message (param $message i32) (result i32)
  (call $log
    (i32.const 2)
    (i32.const 0x100) (i32.const 56)
    (i32.const 1) (i32.const 0x190) (i32.const 1))
  (call $none))

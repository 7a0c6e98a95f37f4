;; world: missing-export
;; wit: missing-export.wit
;; include: lifecycle.wat
;; Exports a component-lifecycle without `handle-callback`.

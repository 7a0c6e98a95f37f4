;; first half of: echo
;; A component whose file was cut short, as by a download that broke off.

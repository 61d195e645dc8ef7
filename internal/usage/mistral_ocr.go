package usage

// Mistral's OCR, which is billed by the page. Source: mistralai's OCRResponse and OCRUsageInfo.
var mistralOCR = &format{
	root: object(fields{
		"model":      text(toModel),
		"error":      failure(),
		"usage_info": usageObject(fields{"pages_processed": count(pages)}),
	}),
	counts: func(r *Reader, m *mapped) {
		if r.kept.has(pages) {
			m.Set(Pages, r.kept.n[pages])
			m.in, m.out = true, true
		}
	},
}

package usage

// Mistral's OCR, which is billed by the page: by another price where the pages were annotated. Source: mistralai's OCRResponse,
// OCRImageObject and OCRUsageInfo; docs.mistral.ai/models/ocr-4-1.
var mistralOCR = &format{
	root: object(fields{
		"model":               text(toModel),
		"error":               failure(),
		"usage_info":          usageObject(fields{"pages_processed": count(pages)}),
		"document_annotation": seen(annotated),
		"pages":               list(object(fields{"images": list(object(fields{"image_annotation": seen(annotated)}))})),
	}),
	counts: func(r *Reader, m *mapped) {
		if !r.kept.has(pages) {
			return
		}
		kind := Pages
		if r.other.has(flag) {
			kind = AnnotatedPages
		}
		m.Set(kind, r.kept.n[pages])
		m.in, m.out = true, true
	},
}

func annotated(r *Reader, _ byte) { r.other.put(flag, 1) }

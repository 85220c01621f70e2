package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestOpenAPI: the document is valid, has every route and nothing else, and what the routes
// answer is what it says: each field, and of its type.
func TestOpenAPI(t *testing.T) {
	for p := range needs {
		if _, is := operations[p]; !is {
			t.Errorf("no operation describes %s", p)
		}
	}
	for p, o := range operations {
		if _, is := needs[p]; !is {
			t.Errorf("%s is described, and is no route", p)
		}
		if (o.out == nil) == (o.kind == "") {
			t.Errorf("%s answers with JSON or with something else", p)
		}
		for name := range strings.FieldsSeq(o.query) {
			if _, is := queries[name]; !is {
				t.Errorf("%s: what is %s?", p, name)
			}
		}
	}
	d := newDesk(t)
	d.furnish()
	text := d.want(200, "GET", "/api/v1/openapi.json", "").Body.Bytes()
	var tidy bytes.Buffer
	if err := json.Indent(&tidy, text, "", " "); err != nil {
		t.Fatal(err)
	}
	const kept = "testdata/openapi.json"
	if os.Getenv("MUSTER_GOLDEN") == "write" {
		if err := os.WriteFile(kept, tidy.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if was, err := os.ReadFile(kept); err != nil || !bytes.Equal(was, tidy.Bytes()) {
		t.Errorf("the API is not as %s has it (%v): what a client relies on stays; what is new is written with MUSTER_GOLDEN=write", kept, err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Errorf("the document is not valid: %v", err)
	}
	seen := map[string]bool{}
	for _, p := range doc.Paths.Map() {
		for _, o := range p.Operations() {
			if seen[o.OperationID] {
				t.Errorf("two operations are called %s", o.OperationID)
			}
			seen[o.OperationID] = true
		}
	}
	if len(seen) != len(operations) {
		t.Errorf("%d operations of %d", len(seen), len(operations))
	}
	held := 0
	for _, c := range calls {
		method, _, _ := strings.Cut(c.pattern, " ")
		if c.status >= 300 {
			continue
		}
		o := operations[c.pattern]
		a := d.ask(method, c.path, c.body)
		if o.out != nil && a.Code == http.StatusOK {
			held++
			into := reflect.New(reflect.TypeOf(o.out))
			strict := json.NewDecoder(bytes.NewReader(a.Body.Bytes()))
			strict.DisallowUnknownFields()
			if err := strict.Decode(into.Interface()); err != nil {
				t.Errorf("%s %s: it answers with what %T has not: %v", method, c.path, o.out, err)
			}
			_, path, _ := strings.Cut(c.pattern, " ")
			op := doc.Paths.Find(strings.ReplaceAll(path, "...}", "}")).GetOperation(method)
			var v any
			if err := json.Unmarshal(a.Body.Bytes(), &v); err != nil {
				t.Fatal(err)
			}
			if err := op.Responses.Status(200).Value.Content["application/json"].Schema.Value.VisitJSON(v); err != nil {
				t.Errorf("%s %s is not as the document says: %.600v", method, c.path, err)
			}
		}
		if method != "GET" {
			d = newDesk(t)
			d.furnish()
		}
	}
	if held < 60 {
		t.Errorf("%d answers were held against the document", held)
	}
}

package main

import (
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// parameter is a parameter that many operations take.
type parameter struct {
	in, name, description string
	schema                *openapi3.Schema
	takes                 func(o operation) bool
}

// lists reports whether the operation answers with a page of a list.
func (o operation) lists() bool {
	answer := o.Responses.Status(http.StatusOK)
	if answer == nil {
		return false
	}
	content := answer.Value.Content.Get("application/json")
	return content != nil && content.Schema != nil && strings.HasSuffix(content.Schema.Ref, "ListEnvelope")
}

// polls reports whether the operation waits for changes. Its answers have no version.
func (o operation) polls() bool {
	return o.Parameters.GetByInAndName(openapi3.ParameterInQuery, "wait") != nil
}

// streams reports whether the operation sends lines while it reads them, so that it doesn't know
// their version before.
func (o operation) streams() bool {
	answer := o.Responses.Status(http.StatusOK)
	return answer != nil && answer.Value.Content["application/x-ndjson"] != nil
}

// creates reports whether the operation makes an object.
func (o operation) creates() bool {
	return o.method == http.MethodPost && o.Responses.Status(http.StatusCreated) != nil
}

// commonParameters are those that operations get by what they do, so that the
// annotations need only have the others.
func commonParameters(o operation) []parameter {
	public := func(o operation) bool { return !o.internal() }
	changes := func(o operation) bool { return public(o) && o.writes() && o.method != http.MethodPost }
	reads := func(o operation) bool { return public(o) && !o.writes() && !o.polls() && !o.streams() }
	noun := strings.Join(o.Tags, " and ")
	text := openapi3.NewStringSchema()
	key := openapi3.NewStringSchema().WithMinLength(1).WithMaxLength(255)
	return []parameter{
		{openapi3.ParameterInQuery, "page", "page; below 1 or not a number means 1. Not together with after", openapi3.NewIntegerSchema().WithDefault(1), operation.lists},
		{openapi3.ParameterInQuery, "page_size", noun + " on a page; below 1 means the default, above the maximum the maximum", openapi3.NewIntegerSchema().WithMin(1).WithMax(100).WithDefault(10), operation.lists},
		{openapi3.ParameterInQuery, "after", "next of the page before, for a list that stays in step while rows are added and removed; with the same filters and the same order_by, and without page", text, operation.lists},
		{openapi3.ParameterInHeader, "Idempotency-Key", "1 to 255 printable ASCII characters, such as a UUID; send the header once. A repeat by the same client " +
			"with the same key within a day returns the object as it was created. A failed request does not use up its key", key, func(o operation) bool { return o.creates() && !o.isBatch() }},
		{openapi3.ParameterInHeader, "Idempotency-Key", "1 to 255 printable ASCII characters, such as a UUID; send the header once. A repeat by the same client " +
			"with the same key within a day creates only what the first request has not created, and returns the rest as it was created. A failed atomic request does not use up its key", key,
			func(o operation) bool { return o.creates() && o.isBatch() }},
		{openapi3.ParameterInHeader, "locale", "language of messages", openapi3.NewStringSchema().WithEnum("zh", "en", "zh_Hant_TW"), public},
		{openapi3.ParameterInHeader, "If-Match", "ETag that the object must still have, with its quotes; read it with the token that you write with, since others may " +
			"not see all of the object. A weak one (W/…) never matches, and * is no precondition", text, changes},
		{openapi3.ParameterInHeader, "If-None-Match", "ETag of the client's copy; 304 if it is still current", text, reads},
	}
}

// addParameters gives the operation its common parameters, after its own ones.
func addParameters(o operation) {
	for _, common := range commonParameters(o) {
		if !common.takes(o) {
			continue
		}
		o.Parameters = slices.DeleteFunc(o.Parameters, func(own *openapi3.ParameterRef) bool {
			return own.Value.In == common.in && own.Value.Name == common.name
		})
		o.Parameters = append(o.Parameters, &openapi3.ParameterRef{Value: &openapi3.Parameter{
			In: common.in, Name: common.name, Description: common.description, Schema: common.schema.NewRef(),
		}})
	}
}

window.ui = SwaggerUIBundle({
	url: "openapi.json",
	dom_id: "#swagger-ui",
	deepLinking: true,
	// Swagger UI would otherwise show a badge of a validator on another host.
	validatorUrl: null,
});
